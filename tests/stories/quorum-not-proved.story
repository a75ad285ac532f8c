# The primary's host and a standby are lost in the same moment: whether that one has more is not known.
cluster: pg1* pg2 pg3
wish: protection: quorum
>> act sync_set: commits are to wait for any 1 of pg2, pg3: protection: quorum begins
>>     record: generation 1, stable, primary pg1, covered by nobody and any 1 of pg2, pg3
>>     1. have commits on pg1 wait for any 1 of pg2, pg3
carry out
proved
>> rest
pg1, pg3: overdue
pg1, pg3: host does not answer
pg2: cannot reach pg1
at 3.1 s
pg1, pg3: timed out
>> primary_lost pg1 (now): it has not answered for 3.1 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> standby_down pg3 (tell): it does not answer (timed_out)
>> hold not_lossless: a standby may lack acknowledged commits: any 1 of pg2, pg3 acknowledged, 2 of them must be cut off and compared, and 1 can be (bring back pg3 or pg1; or accept that commits may be lost: pgvigil failover orders --force)
asked: failover --force
>> primary_lost pg1 (now): it has not answered for 3.1 s (timed_out); its host's shell does not answer; pg2 cannot reach it either
>> standby_down pg3 (tell): it does not answer (timed_out)
>> act command: pg1 is to be replaced
>>     record: generation 2, fencing, primary pg1, covered by any 1 of pg2, pg3
>>     1. cut pg2 from the old primary
