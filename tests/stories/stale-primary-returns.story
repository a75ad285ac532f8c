# pg2 replaced pg1, whose host was gone. Now pg1 is back, as a primary.
cluster: pg1* pg2 pg3
pg1: timed out
pg1: host does not answer
pg2: cannot reach pg1
at 3 s
>> primary_lost pg1 (now): it has not answered for 3.0 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> act primary_lost: pg1 is to be replaced
>>     record: generation 2, fencing, primary pg1
>>     1. cut pg2 from the old primary
>>     1. cut pg3 from the old primary
carry out
pg2, pg3: cut
>> primary_lost pg1 (now): it has not answered for 3.0 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> standby_detached pg2 (now): it is not pointed at any upstream
>> standby_detached pg3 (now): it is not pointed at any upstream
>> act promote: promote pg2: it is the furthest (0/5000148)
>>     record: generation 2, promoting, primary pg2
>>     1. point pg3 at pg2
>>     2. promote pg2 as generation 2, not behind 0/5000148
carry out
pg2: takes writes on timeline 2
pg3: streams from pg2
>> standby_down pg1 (tell): it does not answer (timed_out)
>> act promoted: pg2 takes writes on timeline 2
>>     record: generation 2, stable, primary pg2
carry out
at 600 s
pg1: takes writes on timeline 1
pg1: host says running
>> stale_primary pg1 (now): it takes writes on timeline 1; the record (generation 2) names pg2
>> act stale_primary: pg1 must not take writes: stop it
>>     1. stop PostgreSQL on pg1 (fast) and see to it that it can only return as a standby
at 601 s
pg1: refused
pg1: host says stopped cleanly
pg1: marked as a standby
>> standby_down pg1 (now): it does not answer (refused); its host says that its server is not there (stopped)
>> rest
>> beside: make pg1 a standby of pg2 (start it, else rewind, else clone)
at 605 s
pg1: streams from pg2
>> act rejoined: pg1 is a streaming standby again
>>     record: generation 2, stable, primary pg2
carry out
>> rest
