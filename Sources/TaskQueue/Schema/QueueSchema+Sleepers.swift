extension QueueSchema {
  /// Step 5: who sleeps stands in a line.
  static let sleepers = [
    // One row a group of slots that sleeps, in the order in which they went to sleep. Each time it is a new row at the
    // end of the line: one that changed in place would leave its dead versions in the way of whoever looks for it, for
    // as long as an old snapshot stands. Unlogged: losing it in a crash costs one safety sweep.
    """
    create unlogged table millrace.sleeper (
      slot_group smallint not null, place bigint generated always as identity, worker_id bigint not null,
      number bigint not null, primary key (slot_group, place)
    ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)
    """,
    "create index sleeper_of_worker on millrace.sleeper (worker_id, slot_group, number)",
    // Tells as many sleeping workers as wanted, each on a channel of its own: of those who do not listen there nobody
    // is woken. Whoever is woken sleeps no more, so that the next who has tasks wakes another one. A worker whose lock
    // can be had is dead, and notifying it would wake nobody. Returns for each group where the sleepers began that were
    // found from its floor on, or where the next one will stand. After a crash the line begins anew, and a floor that
    // is behind its end is from before.
    //
    // Each look goes along the line from the floor on, in a form that leaves a planner no choice: with statistics of a
    // table that is nearly empty it would rather look at all of the index.
    """
    create function millrace.wake(groups smallint[], tasks bigint[], workers bigint[], floors bigint[])
    returns bigint[] language plpgsql as $$
    declare told bigint[];
      notes text[];
      firsts bigint[];
      next_place bigint := (select last_value + is_called::integer from millrace.sleeper_place_seq);
    begin
      -- Programs of before go to sleep in another table.
      if exists (select from millrace.idle_worker where slot_group = any(groups)) then
        perform millrace.tell_former(groups, tasks, workers);
      end if;
      -- Under load nobody sleeps, and every batch asks.
      if not exists (select from unnest(groups, floors) as w (slot_group, floor) cross join lateral (
          select from millrace.sleeper s
          where s.slot_group = w.slot_group
            and s.place >= case when w.floor > next_place then 0 else w.floor end
          order by s.slot_group, s.place limit 1) s) then
        return array_fill(next_place, array[cardinality(groups)]);
      end if;
      with wanted as materialized (
        select * from unnest(groups, tasks, workers, floors) with ordinality
          as w (slot_group, tasks, workers, floor, ord)
      ), chosen as materialized (
        select w.ord, s.ctid, s.place from wanted w cross join lateral (
          select s.ctid, s.place from millrace.sleeper s
          where s.slot_group = w.slot_group
            and s.place >= case when w.floor > next_place then 0 else w.floor end
            and not pg_try_advisory_xact_lock_shared(1296649047, s.worker_id::integer)
          order by s.slot_group, s.place limit w.workers for update skip locked) s
      ), woken as (
        delete from millrace.sleeper where ctid = any(array(select c.ctid from chosen c))
        returning worker_id, slot_group, number
      ), words as materialized (
        select k.worker_id, k.slot_group || ':' || w.tasks || ':' || k.number as note
        from woken k join wanted w on w.slot_group = k.slot_group
      )
      select (select array_agg(worker_id) from words), (select array_agg(note) from words),
          (select array_agg(coalesce(
              (select min(c.place) from chosen c where c.ord = w.ord), next_place) order by w.ord) from wanted w)
        into told, notes, firsts;
      perform pg_notify('millrace_worker_' || worker_id, string_agg(note, ','))
        from unnest(told, notes) as u (worker_id, note) group by worker_id;
      return firsts;
    end $$
    """,
    // What programs of before call wakes all; what it did wakes those who sleep in the other table. Sessions that have
    // prepared the call find the new function: a plan falls with a function that it names.
    "alter function millrace.tell(smallint[], bigint[], bigint[]) rename to tell_former",
    """
    create function millrace.tell(groups smallint[], tasks bigint[], workers bigint[]) returns void
    language plpgsql as $$
    begin
      perform millrace.wake(groups, tasks, workers, array_fill(0::bigint, array[cardinality(groups)]));
    end $$
    """,
    // Workers that may be stopped must not be the ones that are notified. Should one live, it is told to look; the
    // others look at once, for it may have been notified in vain.
    """
    create or replace function millrace.mute(silent bigint[]) returns void language plpgsql as $$
    declare told bigint[];
      notes text[];
    begin
      with former as (
        delete from millrace.idle_worker where worker_id = any(silent) returning worker_id, slot_group, number
      ), present as (
        delete from millrace.sleeper where worker_id = any(silent) returning worker_id, slot_group, number
      ), gone as (
        select * from former union all select * from present
      )
      select array_agg(worker_id), array_agg(slot_group || ':1:' || number) into told, notes from gone;
      perform pg_notify('millrace_worker_' || worker_id, note) from unnest(told, notes) as u (worker_id, note);
      if told is not null then perform pg_notify('millrace_ready', ''); end if;
    end $$
    """,
  ]
}
