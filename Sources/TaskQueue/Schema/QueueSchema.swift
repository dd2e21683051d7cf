public import Postgres

/// The queue's tables, as numbered steps that are never changed once they were released.
public enum QueueSchema {
  /// All steps in order.
  public static let migrations = [
    Migration(1, "queue tables", tables), Migration(2, "queue functions", functions),
    Migration(
      3, "partitions by age, wake-ups by number, take-over in parts", preparedBy: nextBound,
      partsByAge + wakeUps + lives),
    Migration(4, "turns at rest, leaving for good, maintenance in short transactions", rest),
    Migration(5, "sleepers in a line", sleepers), Migration(6, "several lanes in a claim, orders from people", ways),
    Migration(7, "orders that outlast a worker's row, suspects", orders),
    Migration(8, "a row in line for many tasks; workers of before claim no more", batches + placesOfTheirOwn),
  ]

  /// Session settings of connections that claim and complete. Each plan was chosen by measurement and must not drift
  /// with statistics of tables that are empty one second and hold a million rows the next.
  static let workerSettings: [(name: String, value: String)] = [
    ("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"), ("enable_bitmapscan", "off"), ("jit", "off"),
  ]

  /// Session settings of connections that submit and read.
  static let submitterSettings: [(name: String, value: String)] = [
    ("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("enable_bitmapscan", "off"), ("jit", "off"),
  ]

  private static let tables = [
    "create sequence millrace.task_id cache 1",
    "create sequence millrace.ready_seq cache 1",
    // One row for life and no index but the key, so that completing it is a heap-only update; dropped by partition.
    """
    create table millrace.task (
      id bigint not null primary key, kind text not null, lane smallint not null,
      state smallint not null default 0, attempt smallint not null default 0, max_attempts smallint not null default 3,
      created_at timestamptz not null default now(), started_at timestamptz, finished_at timestamptz,
      payload bytea, result bytea, error text, trace text
    ) partition by range (id)
    """,
    // What may be claimed: only inserted into and deleted from.
    """
    create table millrace.ready (
      lane smallint not null, seq bigint not null, id bigint not null, primary key (lane, seq)
    ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0)
    """,
    // One row per claimed batch; its existence is the fence that a completion has to pass.
    """
    create table millrace.lease (
      id bigint generated always as identity primary key, worker_id bigint not null,
      claimed_at timestamptz not null default now(), ids bigint[] not null
    ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)
    """,
    "create table millrace.scheduled (id bigint primary key, run_at timestamptz not null, lane smallint not null)",
    "create index scheduled_run_at on millrace.scheduled (run_at)",
    """
    create table millrace.worker (
      id bigint generated always as identity primary key, name text not null,
      started_at timestamptz not null default now(), heartbeat_at timestamptz not null default now()
    ) with (fillfactor = 50)
    """,
    // One row per process and group of slots that sleeps: whether a NOTIFY is worth sending. Unlogged: losing it in a
    // crash costs one safety sweep.
    """
    create unlogged table millrace.idle_worker (
      worker_id bigint not null, slot_group smallint not null, primary key (slot_group, worker_id)
    ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)
    """,
    """
    create table millrace.unique_key (
      digest bytea primary key, task_id bigint not null, expires_at timestamptz not null
    ) with (autovacuum_vacuum_scale_factor = 0.02)
    """,
  ]

  private static let functions = [
    // Partitions of 5 million tasks each, always two ahead of the last id given out. CREATE and ATTACH rather than
    // PARTITION OF: the latter would lock out everybody who reads the parent.
    """
    create function millrace.ensure_partitions() returns void language plpgsql as $$
    declare
      size constant bigint := 5000000;
      wanted bigint := (select last_value from millrace.task_id) / size + 2;
      part bigint;
    begin
      if to_regclass('millrace.task_' || wanted) is not null then return; end if;
      perform pg_advisory_xact_lock(1296649044);
      for part in 0 .. wanted loop
        if to_regclass('millrace.task_' || part) is null and part >= wanted - 2 then
          execute format('create table millrace.task_%s (like millrace.task including defaults) with (fillfactor = 50)',
            part);
          execute format('alter table millrace.task_%s add primary key (id)', part);
          execute format('alter table millrace.task attach partition millrace.task_%s for values from (%s) to (%s)',
            part, part * size, (part + 1) * size);
        end if;
      end loop;
    end $$
    """,
    "select millrace.ensure_partitions()",
    // Takes leases away from whoever held them. The row lock of the delete waits for a completion that holds the lease
    // and is then too late, or wins and makes the completion find nothing: exactly one result is stored.
    """
    create function millrace.rescue(leases bigint[]) returns bigint language sql as $$
      with gone as (
        delete from millrace.lease where id = any(leases) returning ids
      ), lost as (
        select unnest(ids) as id from gone
      ), changed as (
        update millrace.task t set attempt = t.attempt + 1,
          state = case when t.attempt + 1 >= t.max_attempts then 3 else 0 end,
          finished_at = case when t.attempt + 1 >= t.max_attempts then now() end,
          payload = case when t.attempt + 1 >= t.max_attempts then null else t.payload end,
          error = 'the worker that ran this task was lost'
        from lost
        where t.id = lost.id and t.state = 0 and not exists (select from millrace.scheduled s where s.id = t.id)
        returning t.id, t.lane, t.state
      ), again as (
        insert into millrace.ready (lane, seq, id)
        select lane, nextval('millrace.ready_seq'), id from changed where state = 0
      )
      select count(*) from changed
    $$
    """,
    // Once every few seconds per worker process: says "alive", promotes what is due, takes over from the dead.
    // A worker is dead when nobody holds its advisory lock (its session is gone), or when it was silent for so long
    // that its lease is over although its session stands (stopped, or cut off without a word). A lease of our own that
    // we do not know of comes from a claim whose answer was lost.
    """
    create function millrace.heartbeat(
      me bigint, my_name text, held bigint[], idle_groups smallint[], lease_seconds double precision,
      settled_seconds double precision, self_test boolean)
    returns table (rescued bigint, promoted bigint, next_due double precision, ready_lanes smallint[],
      ready_seqs bigint[])
    language plpgsql as $$
    declare
      dead bigint[];
      candidate bigint;
      -- After an outage every worker is silent and every lock is free. Who was cut off itself cannot judge the others.
      judges boolean := coalesce((select heartbeat_at from millrace.worker where id = me)
          > now() - make_interval(secs => settled_seconds + 5), false)
        and (select backend_start from pg_stat_get_activity(pg_backend_pid()))
          <= now() - make_interval(secs => settled_seconds);
    begin
      insert into millrace.worker (id, name) overriding system value values (me, my_name)
        on conflict (id) do update set heartbeat_at = now();
      dead := '{}';
      for candidate in
        select w.id from millrace.worker w where w.id <> me and w.heartbeat_at < now() - interval '2 seconds' and judges
        order by w.id for update skip locked
      loop
        if (select w.heartbeat_at < now() - make_interval(secs => lease_seconds) from millrace.worker w
            where w.id = candidate)
          or pg_try_advisory_xact_lock(1296649047, candidate::integer)
        then
          dead := dead || candidate;
        end if;
      end loop;
      rescued := millrace.rescue(array(
        select l.id from millrace.lease l where l.worker_id = any(dead)
          or (l.worker_id = me and l.id <> all(held) and l.claimed_at < now() - make_interval(secs => lease_seconds))
          or (judges and not exists (select from millrace.worker w where w.id = l.worker_id))));
      if dead <> '{}' then
        delete from millrace.idle_worker where worker_id = any(dead);
        delete from millrace.worker where id = any(dead);
      end if;
      with due as (
        delete from millrace.scheduled where id = any(array(
          select s.id from millrace.scheduled s where s.run_at <= now() order by s.run_at limit 500
          for update skip locked))
        returning id, lane
      ), moved as (
        insert into millrace.ready (lane, seq, id) select lane, nextval('millrace.ready_seq'), id from due returning 1
      )
      select count(*) into promoted from moved;
      select extract(epoch from min(run_at) - now()) into next_due from millrace.scheduled;
      select array_agg(oldest.lane), array_agg(oldest.seq) into ready_lanes, ready_seqs
        from unnest(idle_groups) g cross join generate_series(0, 7) p cross join lateral (
          select r.lane, r.seq from millrace.ready r where r.lane = (g * 8 + p)::smallint
          order by r.lane, r.seq limit 1) oldest;
      perform millrace.ensure_partitions();
      -- Who has missed its last heartbeats may be stopped: it must not be the one that is notified.
      delete from millrace.idle_worker i where judges and i.worker_id <> me and not exists (
        select from millrace.worker w where w.id = i.worker_id and w.heartbeat_at > now() - interval '8 seconds');
      insert into millrace.idle_worker (worker_id, slot_group) select me, unnest(idle_groups) on conflict do nothing;
      if self_test then perform pg_notify('millrace_worker_' || me, 'self'); end if;
      if rescued + promoted > 0 then perform pg_notify('millrace_ready', ''); end if;
      return next;
    end $$
    """,
  ]
}
