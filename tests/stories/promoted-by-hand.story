# Failover is not automatic. pg1's machine is gone; a human promotes pg2.
cluster: pg1* pg2 pg3
wish: not automatic
pg1: timed out
pg1: host does not answer
pg3: cannot reach pg1
at 3 s
>> primary_lost pg1 (now): it has not answered for 3.0 s (timed_out); its host's shell does not answer; pg3 cannot reach it either
>> hold not_automatic: failover.automatic is off (fail over by hand: pgvigil failover orders)
pg2: takes writes on timeline 2
>> stale_primary pg2 (now): it takes writes on timeline 2; the record (generation 1) names pg1
>> primary_lost pg1 (now): it has not answered for 3.0 s (timed_out); its host's shell does not answer; pg3 cannot reach it either
>> act adopted: pg2 was promoted by hand; it is the primary now
>>     record: generation 2, stable, primary pg2
carry out
>> standby_down pg1 (tell): it does not answer (timed_out)
>> standby_detached pg3 (now): it streams timeline 1, the primary is on 2
>> rest
>> beside: point pg3 at pg2
