# A planned change; nothing is lost.
cluster: pg1* pg2 pg3
asked: switchover pg2
>> act switchover: switch orders over from pg1 to pg2
>>     record: generation 2, switching, primary pg1
>>     1. checkpoint on pg1
>>     2. checkpoint on pg1
>>     3. stop PostgreSQL on pg1 (fast)
carry out
at 0.1 s
pg1: closed, says it is stopped
pg1: host says running
>> primary_restarting pg1 (waiting in 10.0 s): it ended our session and does not listen; its postmaster is there
>> hold stopping: pg1 is being stopped
at 0.2 s
pg1: refused
pg1: host says stopped cleanly
pg2, pg3: lost its upstream
>> primary_restarting pg1 (waiting in 9.9 s): its host says that it was stopped
>> standby_detached pg2 (waiting in 6.0 s): it has not streamed for 0 s
>> standby_detached pg3 (waiting in 6.0 s): it has not streamed for 0 s
>> hold catching_up: pg2 is receiving the last WAL of pg1
at 0.25 s
pg2: received 120 bytes more
>> primary_restarting pg1 (waiting in 9.9 s): its host says that it was stopped
>> standby_detached pg2 (waiting in 6.0 s): it has not streamed for 0 s
>> standby_detached pg3 (waiting in 6.0 s): it has not streamed for 0 s
>> act switch: pg2 has everything; promote it
>>     record: generation 2, promoting, primary pg2
>>     1. promote pg2 as generation 2, not behind 0/50001C0
>>     1. stop PostgreSQL on pg1 (fast) and see to it that it can only return as a standby
>>     2. point pg3 at pg2
carry out
at 0.4 s
pg2: takes writes on timeline 2
>> standby_down pg1 (now): it does not answer (refused); its host says that its server is not there (stopped)
>> standby_detached pg3 (waiting in 5.8 s): it has not streamed for 0 s
>> act promoted: pg2 takes writes on timeline 2
>>     record: generation 2, stable, primary pg2
carry out
pg1, pg3: streams from pg2
>> act rejoined: pg1, pg3 is a streaming standby again
>>     record: generation 2, stable, primary pg2
