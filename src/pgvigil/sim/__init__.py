"""A simulated world under the production controller: servers, hosts, links, clients, faults, from a seed."""
