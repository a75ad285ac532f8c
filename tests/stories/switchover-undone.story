# The candidate does not receive the last WAL: the old primary serves again, on its old timeline.
cluster: pg1* pg2 pg3
asked: switchover
>> act switchover: switch orders over from pg1 to pg2
>>     record: generation 2, switching, primary pg1
>>     1. checkpoint on pg1
>>     2. checkpoint on pg1
>>     3. stop PostgreSQL on pg1 (fast)
carry out
at 0.2 s
pg1: refused
pg1: host says stopped cleanly
pg2, pg3: lost its upstream
>> primary_restarting pg1 (waiting in 10.0 s): its host says that it was stopped
>> standby_detached pg2 (waiting in 6.0 s): it has not streamed for 0 s
>> standby_detached pg3 (waiting in 6.0 s): it has not streamed for 0 s
>> hold catching_up: pg2 is receiving the last WAL of pg1
at 10.2 s
>> primary_stopped pg1 (now): its host says that it was stopped; it has not come back within 10 s
>> standby_detached pg2 (now): it has not streamed for 10 s
>> standby_detached pg3 (now): it has not streamed for 10 s
>> act undo: pg2 did not receive the last WAL in time; start pg1 again
>>     record: generation 2, restarting, primary pg1
>>     1. start PostgreSQL on pg1 as primary
carry out
at 10.5 s
pg1: takes writes on timeline 1
>> standby_detached pg2 (now): it has not streamed for 10 s
>> standby_detached pg3 (now): it has not streamed for 10 s
>> act restarted: pg1 serves again
>>     record: generation 2, stable, primary pg1
carry out
>> standby_detached pg2 (now): it has not streamed for 10 s
>> standby_detached pg3 (now): it has not streamed for 10 s
>> rest
