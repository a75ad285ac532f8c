# All processes of pg1 are stopped (SIGSTOP): TCP connects, nothing answers.
cluster: pg1* pg2 pg3
pg1: overdue
>> primary_overloaded pg1 (waiting in 2.0 s): it does not answer us (overdue, 0.0 s); its host says the postmaster (4711) is alive
>> hold primary_silent: pg1 does not answer (wait for evidence)
at 1 s
pg1: mute
pg1: host says frozen
>> primary_hung pg1 (waiting in 4.0 s): it has not answered for 1.0 s; its host says the postmaster (4711) is there but stands still
>> hold primary_hung: primary hung is not proved yet
at 4.9 s
>> primary_hung pg1 (waiting in 0.1 s): it has not answered for 4.9 s; its host says the postmaster (4711) is there but stands still
>> hold primary_hung: primary hung is not proved yet
at 5 s
>> primary_hung pg1 (now): it has not answered for 5.0 s; its host says the postmaster (4711) is there but stands still
>> act primary_hung: pg1 is to be replaced
>>     record: generation 2, fencing, primary pg1
>>     1. stop PostgreSQL on pg1 (kill) and see to it that it can only return as a standby
>>     1. cut pg2 from the old primary
>>     1. cut pg3 from the old primary
carry out
# It is killed before anybody is promoted.
at 5.1 s
pg2, pg3: cut
>> primary_hung pg1 (now): it has not answered for 5.1 s; its host says the postmaster (4711) is there but stands still
>> standby_detached pg2 (now): it is not pointed at any upstream
>> standby_detached pg3 (now): it is not pointed at any upstream
>> act fence: fence pg1
>>     1. stop PostgreSQL on pg1 (kill) and see to it that it can only return as a standby
at 5.2 s
pg1: refused
pg1: host says crashed
pg1: marked as a standby
>> primary_crashed pg1 (now): our session ended and a new one is refused; its host says the postmaster (4711) is gone
>> standby_detached pg2 (now): it is not pointed at any upstream
>> standby_detached pg3 (now): it is not pointed at any upstream
>> act promote: promote pg2: it is the furthest (0/5000148)
>>     record: generation 2, promoting, primary pg2
>>     1. carry WAL that pg1 could not send any more to pg2
>>     2. point pg3 at pg2
>>     3. promote pg2 as generation 2, not behind 0/5000148
