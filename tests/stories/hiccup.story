# The network is gone for everybody for 2.9 s, less than unreachable_after.
cluster: pg1* pg2 pg3
pg1: overdue
pg1: host does not answer
>> primary_lost pg1 (waiting in 3.0 s): it has not answered for 0.0 s (overdue); its host's shell does not answer
>> hold primary_lost: primary lost is not proved yet
at 1.5 s
pg1: timed out
pg2, pg3: cannot reach pg1
>> primary_lost pg1 (waiting in 1.5 s): it has not answered for 1.5 s (timed_out); its host's shell does not answer; pg2 cannot reach it either; pg3 cannot reach it either
>> hold primary_lost: primary lost is not proved yet
at 2.9 s
>> primary_lost pg1 (waiting in 0.1 s): it has not answered for 2.9 s (timed_out); its host's shell does not answer; pg2 cannot reach it either; pg3 cannot reach it either
>> hold primary_lost: primary lost is not proved yet
pg1: takes writes on timeline 1
pg1: host says running
>> rest
