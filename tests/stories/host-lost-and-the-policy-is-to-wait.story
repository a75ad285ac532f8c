# The machine of pg1 is gone, and nobody is to be promoted beside a primary that was not fenced.
cluster: pg1* pg2 pg3
wish: fencing.unreachable: wait
pg1: timed out
pg1: host does not answer
pg2: cannot reach pg1
at 3 s
>> primary_lost pg1 (now): it has not answered for 3.0 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> hold not_fenced: pg1 cannot be reached to be fenced (fencing.unreachable: wait) (make sure that pg1 is off, then: pgvigil failover orders --force)
asked: failover
>> primary_lost pg1 (now): it has not answered for 3.0 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> refused: pg1 cannot be reached to be fenced (fencing.unreachable: wait)
>> rest
asked: failover pg3 --force
>> primary_lost pg1 (now): it has not answered for 3.0 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> act command: pg1 is to be replaced
>>     record: generation 2, fencing, primary pg1
>>     1. cut pg2 from the old primary
>>     1. cut pg3 from the old primary
carry out
pg2, pg3: cut
>> primary_lost pg1 (now): it has not answered for 3.0 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> standby_detached pg2 (now): it is not pointed at any upstream
>> standby_detached pg3 (now): it is not pointed at any upstream
>> act promote: promote pg3: it is the furthest (0/5000148)
>>     record: generation 2, promoting, primary pg3
>>     1. point pg2 at pg3
>>     2. promote pg3 as generation 2, not behind 0/5000148
