# Nothing is touched by a refusal.
cluster: pg1* pg2 pg3
asked: switchover pg9
>> refused: there is no node pg9 in orders
>> rest
wish: never promote pg3
asked: switchover pg3
>> refused: pg3 cannot take over now (pg3: it may never be promoted (never_promote, or priority 0))
>> rest
pg2: lost its upstream
asked: switchover
>> standby_detached pg2 (waiting in 6.0 s): it has not streamed for 0 s
>> refused: no standby can take over now (pg1: it is a primary already; pg2: it does not stream from the primary; pg3: it may never be promoted (never_promote, or priority 0))
>> rest
