# All processes of pg1 are killed; nobody can ask its host, so a standby must agree.
cluster: pg1* pg2 pg3
pg1, pg2, pg3: no shell
pg1: closed
pg1: refused
>> primary_unseen pg1 (waiting in 2.0 s): it has not answered us for 0.0 s (refused); no other vantage point could confirm or deny that it is gone
>> hold primary_silent: pg1 does not answer (wait for evidence)
at 0.02 s
pg3: lost its upstream
>> primary_crashed pg1 (now): our session ended and a new one is refused; pg3 lost its upstream
>> standby_detached pg3 (waiting in 6.0 s): it has not streamed for 0 s
>> act primary_crashed: pg1 is to be replaced
>>     record: generation 2, fencing, primary pg1
>>     1. cut pg2 from the old primary
>>     1. cut pg3 from the old primary
carry out
# A service manager starts it again before anything was promoted: it cannot be fenced, so it is waited for.
at 0.1 s
pg2, pg3: cut
pg1: says it is starting up
>> primary_restarting pg1 (waiting in 9.9 s): it says: the database system is starting up
>> standby_detached pg2 (now): it is not pointed at any upstream
>> standby_detached pg3 (now): it is not pointed at any upstream
>> hold not_fenced: pg1 lives and there is no working shell on its host to stop it (make sure that pg1 is off, then: pgvigil failover orders --force)
at 0.9 s
pg1: takes writes on timeline 1
>> standby_detached pg2 (now): it is not pointed at any upstream
>> standby_detached pg3 (now): it is not pointed at any upstream
>> act came_back: pg1 serves again; nothing was promoted
>>     record: generation 2, stable, primary pg1
carry out
>> standby_detached pg2 (now): it is not pointed at any upstream
>> standby_detached pg3 (now): it is not pointed at any upstream
>> rest
>> beside: point pg2 at pg1
>> beside: point pg3 at pg1
