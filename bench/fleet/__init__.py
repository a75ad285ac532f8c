"""How many clusters one controller carries: thousands of stand-in servers, and the product."""
