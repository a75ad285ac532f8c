# Somebody else changes the setting: nothing is promised until it is put right; async gives it back.
cluster: pg1* pg2 pg3
wish: protection: quorum
>> act sync_set: commits are to wait for any 1 of pg2, pg3: protection: quorum begins
>>     record: generation 1, stable, primary pg1, covered by nobody and any 1 of pg2, pg3
>>     1. have commits on pg1 wait for any 1 of pg2, pg3
carry out
proved
>> rest
pg1: commits wait for FIRST 1 (pg3)
>> act sync_drifted: commits are to wait for any 1 of pg2, pg3: somebody else set synchronous_standby_names of pg1 to 'FIRST 1 (pg3)'
>>     record: generation 1, stable, primary pg1, covered by nobody and any 1 of pg2, pg3
>>     1. have commits on pg1 wait for any 1 of pg2, pg3
carry out
proved
>> rest
wish: protection: async
>> act sync_lowered: commits are to wait for nobody: protection is async now
>>     record: generation 1, stable, primary pg1, covered by any 1 of pg2, pg3 and nobody
>>     1. have commits on pg1 wait for nobody
carry out
proved
>> act sync_released: synchronous_standby_names is yours again (protection: async)
>>     record: generation 1, stable, primary pg1
carry out
>> rest
