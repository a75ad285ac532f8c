# An administrator restarts pg1.
cluster: pg1* pg2 pg3
pg1: closed, says it is stopped
pg1: host says running
>> primary_restarting pg1 (waiting in 10.0 s): it ended our session and does not listen; its postmaster is there
>> hold primary_restarting: primary restarting (pg1) (it may be back in a moment)
at 0.3 s
pg1: says it is shutting down
>> primary_restarting pg1 (waiting in 9.7 s): it says: the database system is shutting down
>> hold primary_restarting: primary restarting (pg1) (it may be back in a moment)
at 0.9 s
pg1: refused
pg1: host says stopped cleanly
pg2, pg3: lost its upstream
>> primary_restarting pg1 (waiting in 10.0 s): its host says that it was stopped
>> standby_detached pg2 (waiting in 6.0 s): it has not streamed for 0 s
>> standby_detached pg3 (waiting in 6.0 s): it has not streamed for 0 s
>> hold primary_restarting: primary restarting (pg1) (it may be back in a moment)
at 4 s
pg1: says it is starting up
pg1: host says running
>> primary_restarting pg1 (waiting in 6.9 s): it says: the database system is starting up
>> standby_detached pg2 (waiting in 2.9 s): it has not streamed for 3 s
>> standby_detached pg3 (waiting in 2.9 s): it has not streamed for 3 s
>> hold primary_restarting: primary restarting (pg1) (it may be back in a moment)
at 4.2 s
pg1: takes writes on timeline 1
>> standby_detached pg2 (waiting in 2.7 s): it has not streamed for 3 s
>> standby_detached pg3 (waiting in 2.7 s): it has not streamed for 3 s
>> rest
>> beside: have pg2 try its upstream again at once
>> beside: have pg3 try its upstream again at once
