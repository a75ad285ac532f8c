# Somebody changed the password of our login.
cluster: pg1* pg2 pg3
pg1: says the password is wrong
>> primary_locked_out pg1 (tell): it says: password authentication failed (SQLSTATE 28P01); so its postmaster is alive
>> hold primary_locked_out: primary locked out (pg1) (repair the login (password, pg_hba.conf): pgvigil check)
at 3600 s
>> primary_locked_out pg1 (tell): it says: password authentication failed (SQLSTATE 28P01); so its postmaster is alive
>> hold primary_locked_out: primary locked out (pg1) (repair the login (password, pg_hba.conf): pgvigil check)
asked: failover
>> primary_locked_out pg1 (tell): it says: password authentication failed (SQLSTATE 28P01); so its postmaster is alive
>> refused: it is not proved that pg1 is gone (it says: password authentication failed (SQLSTATE 28P01); so its postmaster is alive)
>> rest
