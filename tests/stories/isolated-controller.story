# Our own network is gone: we see nobody.
cluster: pg1* pg2 pg3
pg1, pg2, pg3: overdue
pg1, pg2, pg3: host does not answer
at 1.5 s
pg1, pg2, pg3: timed out
references: not reached
>> controller_isolated here (tell): only 0 of our 1 reference targets answer
>> primary_unseen pg1 (waiting in 0.5 s): it has not answered us for 1.5 s (timed_out); pg2, pg3 cannot be reached from here either: they may see it well, and we be the ones cut off
>> standby_down pg2 (tell): it does not answer (timed_out)
>> standby_down pg3 (tell): it does not answer (timed_out)
>> hold controller_isolated: controller isolated (look at this controller's own network)
at 60 s
references: not reached
>> controller_isolated here (tell): only 0 of our 1 reference targets answer
>> primary_unseen pg1 (tell): it has not answered us for 60.0 s (timed_out); pg2, pg3 cannot be reached from here either: they may see it well, and we be the ones cut off
>> standby_down pg2 (tell): it does not answer (timed_out)
>> standby_down pg3 (tell): it does not answer (timed_out)
>> hold controller_isolated: controller isolated (look at this controller's own network)
# pg2 comes back first, and cannot reach pg1 yet.
pg2: streams from pg1
pg2: cannot reach pg1
>> controller_isolated here (tell): only 0 of our 1 reference targets answer
>> primary_unseen pg1 (tell): it has not answered us for 60.0 s (timed_out)
>> standby_down pg3 (tell): it does not answer (timed_out)
>> hold controller_isolated: controller isolated (look at this controller's own network)
at 61 s
references: reached
>> primary_lost pg1 (now): it has not answered for 61.0 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> standby_down pg3 (tell): it does not answer (timed_out)
>> act primary_lost: pg1 is to be replaced
>>     record: generation 2, fencing, primary pg1
>>     1. cut pg2 from the old primary
