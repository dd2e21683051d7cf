/// SQL that tells how many sessions of its database wait for a lock.
///
/// It asks `pg_locks`, for what `pg_stat_activity` shows stays as it is until the end of a transaction (PostgreSQL's
/// manual, "Viewing Statistics"), and leaves out other databases of the same server, in which other tests run. A
/// session that waits for another transaction does so in no database, but holds a lock in its own.
public let lockWaiters = """
  select count(distinct w.pid) from pg_locks w where not w.granted and exists (
    select from pg_locks h where h.pid = w.pid
      and h.database = (select d.oid from pg_database d where d.datname = current_database()))
  """
