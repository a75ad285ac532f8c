# The way from us to pg1 is gone; its standbys stream, and pg2 reaches it.
cluster: pg1* pg2 pg3
pg1: timed out
pg1: host does not answer
>> primary_lost pg1 (waiting in 3.0 s): it has not answered for 0.0 s (timed_out); its host's shell does not answer
>> hold primary_lost: primary lost is not proved yet
at 1 s
pg2: reaches pg1
>> primary_unseen pg1 (waiting in 1.0 s): it has not answered us for 1.0 s (timed_out); pg2 reaches it
>> hold primary_silent: pg1 does not answer (wait for evidence)
at 60 s
>> primary_unseen pg1 (tell): it has not answered us for 60.0 s (timed_out); pg2 reaches it
>> hold primary_unseen: primary unseen (pg1) (if it is really gone: pgvigil failover --force)
