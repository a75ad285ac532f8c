# An administrator stops pg1 and does not start it again.
cluster: pg1* pg2 pg3
pg1: closed, says it is stopped
pg1: refused
pg1: host says stopped cleanly
pg2, pg3: lost its upstream
>> primary_restarting pg1 (waiting in 10.0 s): its host says that it was stopped
>> standby_detached pg2 (waiting in 6.0 s): it has not streamed for 0 s
>> standby_detached pg3 (waiting in 6.0 s): it has not streamed for 0 s
>> hold primary_restarting: primary restarting (pg1) (it may be back in a moment)
at 9.9 s
>> primary_restarting pg1 (waiting in 0.1 s): its host says that it was stopped
>> standby_detached pg2 (now): it has not streamed for 10 s
>> standby_detached pg3 (now): it has not streamed for 10 s
>> hold primary_restarting: primary restarting (pg1) (it may be back in a moment)
at 10 s
>> primary_stopped pg1 (now): its host says that it was stopped; it has not come back within 10 s
>> standby_detached pg2 (now): it has not streamed for 10 s
>> standby_detached pg3 (now): it has not streamed for 10 s
>> act primary_stopped: pg1 is to be replaced
>>     record: generation 2, fencing, primary pg1
>>     1. stop PostgreSQL on pg1 (immediate) and see to it that it can only return as a standby
>>     1. cut pg2 from the old primary
>>     1. cut pg3 from the old primary
