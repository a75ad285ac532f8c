# Who leaves is waited for no more; with nobody left the primary acknowledges alone, and the record says so first.
cluster: pg1* pg2 pg3
wish: protection: quorum
>> act sync_set: commits are to wait for any 1 of pg2, pg3: protection: quorum begins
>>     record: generation 1, stable, primary pg1, covered by nobody and any 1 of pg2, pg3
>>     1. have commits on pg1 wait for any 1 of pg2, pg3
carry out
proved
>> rest
pg3: refused
pg1: sends no more to pg3
at 1 s
>> standby_down pg3 (tell): it does not answer (refused); its host says that its postmaster is there (running)
>> act sync_set: commits are to wait for any 1 of pg2: pg3 does not answer
>>     record: generation 1, stable, primary pg1, covered by any 1 of pg2, pg3 and any 1 of pg2
>>     1. have commits on pg1 wait for any 1 of pg2
carry out
proved
pg2: refused
pg1: sends no more to pg2
at 2 s
>> standby_down pg2 (tell): it does not answer (refused); its host says that its postmaster is there (running)
>> standby_down pg3 (tell): it does not answer (refused); its host says that its postmaster is there (running)
>> act sync_lowered: commits are to wait for nobody: pg2 does not answer
>>     record: generation 1, stable, primary pg1, covered by any 1 of pg2 and nobody
>>     1. have commits on pg1 wait for nobody
carry out
proved
>> standby_down pg2 (tell): it does not answer (refused); its host says that its postmaster is there (running)
>> standby_down pg3 (tell): it does not answer (refused); its host says that its postmaster is there (running)
>> rest
