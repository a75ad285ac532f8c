# The machine of pg1 is switched off.
cluster: pg1* pg2 pg3
pg1: overdue
pg1: host does not answer
>> primary_lost pg1 (waiting in 3.0 s): it has not answered for 0.0 s (overdue); its host's shell does not answer
>> hold primary_lost: primary lost is not proved yet
at 1.5 s
pg1: timed out
pg2: cannot reach pg1
>> primary_lost pg1 (waiting in 1.5 s): it has not answered for 1.5 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> hold primary_lost: primary lost is not proved yet
at 3 s
>> primary_lost pg1 (now): it has not answered for 3.0 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> act primary_lost: pg1 is to be replaced
>>     record: generation 2, fencing, primary pg1
>>     1. cut pg2 from the old primary
>>     1. cut pg3 from the old primary
carry out
at 3.1 s
pg2, pg3: cut
>> primary_lost pg1 (now): it has not answered for 3.1 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> standby_detached pg2 (now): it is not pointed at any upstream
>> standby_detached pg3 (now): it is not pointed at any upstream
>> act promote: promote pg2: it is the furthest (0/5000148)
>>     record: generation 2, promoting, primary pg2
>>     1. point pg3 at pg2
>>     2. promote pg2 as generation 2, not behind 0/5000148
