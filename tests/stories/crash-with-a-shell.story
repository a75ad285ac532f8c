# All processes of pg1 are killed; its host lives and says so.
cluster: pg1* pg2 pg3
>> rest
pg1: closed
>> primary_overloaded pg1 (waiting in 2.0 s): it does not answer us (closed, 0.0 s); its host says the postmaster (4711) is alive
>> hold primary_silent: pg1 does not answer (wait for evidence)
at 0.005 s
pg1: refused
pg1: host says crashed
pg2, pg3: lost its upstream
>> primary_crashed pg1 (now): our session ended and a new one is refused; its host says the postmaster (4711) is gone
>> standby_detached pg2 (waiting in 6.0 s): it has not streamed for 0 s
>> standby_detached pg3 (waiting in 6.0 s): it has not streamed for 0 s
>> act primary_crashed: pg1 is to be replaced
>>     record: generation 2, fencing, primary pg1
>>     1. stop PostgreSQL on pg1 (immediate) and see to it that it can only return as a standby
>>     1. cut pg2 from the old primary
>>     1. cut pg3 from the old primary
carry out
at 0.06 s
pg1: marked as a standby
pg2, pg3: cut
>> primary_crashed pg1 (now): our session ended and a new one is refused; its host says the postmaster (4711) is gone
>> standby_detached pg2 (now): it is not pointed at any upstream
>> standby_detached pg3 (now): it is not pointed at any upstream
>> act promote: promote pg2: it is the furthest (0/5000148)
>>     record: generation 2, promoting, primary pg2
>>     1. carry WAL that pg1 could not send any more to pg2
>>     2. point pg3 at pg2
>>     3. promote pg2 as generation 2, not behind 0/5000148
carry out
at 0.2 s
pg2: takes writes on timeline 2
>> standby_down pg1 (now): it does not answer (refused); its host says that its server is not there (crashed)
>> standby_detached pg3 (now): it is not pointed at any upstream
>> act promoted: pg2 takes writes on timeline 2
>>     record: generation 2, stable, primary pg2
carry out
>> standby_down pg1 (now): it does not answer (refused); its host says that its server is not there (crashed)
>> standby_detached pg3 (now): it is not pointed at any upstream
>> rest
>> beside: make pg1 a standby of pg2 (start it, else rewind, else clone)
>> beside: point pg3 at pg2
pg1, pg3: streams from pg2
>> act rejoined: pg1 is a streaming standby again
>>     record: generation 2, stable, primary pg2
carry out
>> rest
