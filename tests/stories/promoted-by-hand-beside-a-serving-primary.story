# A human promotes pg2 although pg1 serves.
cluster: pg1* pg2 pg3
pg2: takes writes on timeline 2
>> stale_primary pg2 (now): it takes writes on timeline 2; the record (generation 1) names pg1
>> act stale_primary: pg2 must not take writes: stop it
>>     record: generation 1, stable, primary pg1
>>     1. stop PostgreSQL on pg2 (fast) and see to it that it can only return as a standby
carry out
pg2: refused
pg2: host says stopped cleanly
>> standby_down pg2 (now): it does not answer (refused); its host says that its server is not there (stopped)
>> rest
>> beside: make pg2 a standby of pg1 (start it, else rewind, else clone)
