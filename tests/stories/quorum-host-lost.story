# No shell, no policy needed: the standbys are taken from the old primary, compared, and the furthest promoted.
cluster: pg1* pg2 pg3
wish: protection: quorum
>> act sync_set: commits are to wait for any 1 of pg2, pg3: protection: quorum begins
>>     record: generation 1, stable, primary pg1, covered by nobody and any 1 of pg2, pg3
>>     1. have commits on pg1 wait for any 1 of pg2, pg3
carry out
proved
>> rest
pg1: overdue
pg1: no shell
pg2: cannot reach pg1
at 3.1 s
pg1: timed out
pg3: received 100 bytes
>> primary_lost pg1 (now): it has not answered for 3.1 s (timed_out); pg2 cannot reach it either
>> act primary_lost: pg1 is to be replaced
>>     record: generation 2, fencing, primary pg1, covered by any 1 of pg2, pg3
>>     1. cut pg2 from the old primary
>>     1. cut pg3 from the old primary
carry out
at 3.2 s
pg2: cut
>> primary_lost pg1 (now): it has not answered for 3.2 s (timed_out); pg2 cannot reach it either
>> standby_detached pg2 (now): it is not pointed at any upstream
>> act fence: fence pg1
>>     1. cut pg3 from the old primary
at 3.3 s
pg3: cut
>> primary_lost pg1 (now): it has not answered for 3.3 s (timed_out); pg2 cannot reach it either
>> standby_detached pg2 (now): it is not pointed at any upstream
>> standby_detached pg3 (now): it is not pointed at any upstream
>> act promote: promote pg3: it is the furthest (0/50001AC)
>>     record: generation 2, promoting, primary pg3, covered by nobody and any 1 of pg2
>>     1. have commits on pg3 wait for any 1 of pg2
>>     2. point pg2 at pg3
>>     3. promote pg3 as generation 2, not behind 0/50001AC
