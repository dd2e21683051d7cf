extension QueueSchema {
  /// Step 4: workers at rest take turns, one that has left stays away, and maintenance goes in short transactions.
  static let rest = [
    // `promised` is in how many seconds at the latest the next beat comes, for one at rest so as others' beats leave
    // it. One that has left keeps its row for a while, so that a beat of its that comes late does not put it in again.
    // Nothing depends on statistics of so small a table.
    """
    alter table millrace.worker add column promised double precision not null default 5,
      add column rests boolean not null default false, add column has_left boolean not null default false,
      set (autovacuum_analyze_threshold = 1000000)
    """,
    // Tells as many sleeping workers as wanted, each on a channel of its own: of those who do not listen there nobody
    // is woken. Whoever is woken sleeps no more, so that the next who has tasks wakes another one. A worker whose lock
    // can be had is dead, and notifying it would wake nobody.
    """
    create or replace function millrace.tell(groups smallint[], tasks bigint[], workers bigint[]) returns void
    language plpgsql as $$
    declare told bigint[];
      notes text[];
    begin
      -- Under load nobody sleeps, and every batch asks.
      if not exists (select from millrace.idle_worker where slot_group = any(groups)) then return; end if;
      with wanted as materialized (
        select * from unnest(groups, tasks, workers) as w (slot_group, tasks, workers)
      ), chosen as materialized (
        select w.slot_group, w.tasks, i.worker_id from wanted w cross join lateral (
          select i.worker_id from millrace.idle_worker i
          where i.slot_group = w.slot_group
            and not pg_try_advisory_xact_lock_shared(1296649047, i.worker_id::integer)
          order by i.slot_group, i.worker_id limit w.workers for update skip locked) i
      ), woken as (
        delete from millrace.idle_worker d using chosen c
        where d.slot_group = c.slot_group and d.worker_id = c.worker_id
        returning d.worker_id, d.slot_group || ':' || c.tasks || ':' || d.number as note
      )
      select array_agg(worker_id), array_agg(note) into told, notes from woken;
      perform pg_notify('millrace_worker_' || worker_id, string_agg(note, ','))
        from unnest(told, notes) as u (worker_id, note) group by worker_id;
    end $$
    """,
    // Says "alive" and tells what to worry about: workers whose session is gone or whose beat is late, when the next
    // scheduled task is due, and the oldest tasks in lanes of groups that sleep here. A claim is a sign of life, too.
    //
    // One at rest beats next where the first gap of more than a usual pause is between the beats that others at rest
    // have promised, so that somebody looks that often and nobody more often than needed. The dead do not look.
    """
    create function millrace.beat(
      me bigint, my_name text, held bigint[], lease_seconds double precision, idle_groups smallint[],
      usual double precision, longest double precision, at_rest boolean, self_test boolean)
    returns table (promise double precision, clock double precision, uptime double precision, workers text,
      beats text, silent text, promised text, gone text, next_due double precision, ready_lanes text, ready_seqs text,
      rescued bigint)
    language plpgsql as $$
    #variable_conflict use_column
    declare other_due double precision;
    begin
      promise := 0;
      for other_due in
        select extract(epoch from w.heartbeat_at - now()) + w.promised as due from millrace.worker w
        where at_rest and w.rests and w.id <> me and not w.has_left
          and not pg_try_advisory_xact_lock_shared(1296649047, w.id::integer)
        order by due
      loop
        exit when other_due > promise + usual * 1.2;
        promise := greatest(promise, other_due);
      end loop;
      promise := case when at_rest then least(promise + usual, longest) else usual end;
      insert into millrace.worker as w (id, name, promised, rests) overriding system value
        values (me, my_name, promise, at_rest)
        on conflict (id) do update set heartbeat_at = now(), beats = w.beats + 1, promised = excluded.promised,
          rests = excluded.rests
        where not w.has_left;
      clock := extract(epoch from now());
      uptime := extract(epoch from now() - pg_postmaster_start_time());
      select string_agg(v.id::text, ','), string_agg(v.count::text, ','), string_agg(v.since::text, ','),
          string_agg(v.promised::text, ','), string_agg(v.is_gone::integer::text, ',')
        into workers, beats, silent, promised, gone
        from (select w.id, w.beats as count, w.promised,
            extract(epoch from now() - greatest(w.heartbeat_at, c.claimed_at)) as since,
            pg_try_advisory_xact_lock_shared(1296649047, w.id::integer) as is_gone
          from millrace.worker w left join (
            select worker_id, max(claimed_at) as claimed_at from millrace.lease group by worker_id) c
            on c.worker_id = w.id
          where w.id <> me and not w.has_left) v
        where v.is_gone or v.since > v.promised + 1;
      -- A lease of our own that we do not know of comes from a claim whose answer was lost, one of nobody from a worker
      -- that has left or was taken for dead.
      -- One that lives and was taken for dead is in the table again with its next beat.
      rescued := millrace.rescue(array(select l.id from millrace.lease l
        where l.worker_id = me and l.id <> all(held) and l.claimed_at < now() - make_interval(secs => lease_seconds)
          or l.claimed_at < now() - interval '7 seconds'
            and not exists (select from millrace.worker w where w.id = l.worker_id and not w.has_left)));
      if rescued > 0 then perform pg_notify('millrace_ready', ''); end if;
      select extract(epoch from min(run_at) - now()) into next_due from millrace.scheduled;
      select string_agg(oldest.lane::text, ','), string_agg(oldest.seq::text, ',') into ready_lanes, ready_seqs
        from unnest(idle_groups) g cross join generate_series(0, 7) p cross join lateral (
          select r.lane, r.seq from millrace.ready r where r.lane = (g * 8 + p)::smallint
          order by r.lane, r.seq limit 1) oldest;
      if self_test then perform pg_notify('millrace_ready', 'test'); end if;
      return next;
    end $$
    """,
    // Takes over from workers that are judged to be dead, unless they have given a sign of life since. All others look:
    // the dead may have been told of tasks.
    """
    create function millrace.take_over(dead bigint[], seen_beats bigint[], seen_at double precision) returns bigint
    language plpgsql as $$
    declare rescued bigint := 0;
    begin
      dead := array(select w.id from unnest(dead, seen_beats) as d (id, beats) join millrace.worker w
        on w.id = d.id and w.beats = d.beats and not w.has_left
          and not exists (select from millrace.lease l
            where l.worker_id = w.id and l.claimed_at > to_timestamp(seen_at))
        order by w.id for update of w skip locked);
      if dead <> '{}' then
        -- One that lives all the same must know that its row is gone.
        perform millrace.mute(dead);
        delete from millrace.worker where id = any(dead);
        rescued := millrace.rescue(array(select id from millrace.lease where worker_id = any(dead)));
        perform pg_notify('millrace_ready', '');
      end if;
      return rescued;
    end $$
    """,
    // Workers of the program before go on while tables and programs are upgraded one after the other: what they call
    // is left to them, with the meaning that the others expect. They beat every five seconds and test their hearing on
    // a channel of their own.
    """
    create or replace function millrace.beat(
      me bigint, my_name text, held bigint[], lease_seconds double precision, idle_groups smallint[],
      self_test boolean)
    returns table (uptime double precision, workers text, beats text, silent text, gone text,
      next_due double precision, ready_lanes text, ready_seqs text, rescued bigint)
    language plpgsql as $$
    begin
      if self_test then perform pg_notify('millrace_worker_' || me, 'self'); end if;
      return query select b.uptime, b.workers, b.beats, b.silent, b.gone, b.next_due, b.ready_lanes, b.ready_seqs,
          b.rescued
        from millrace.beat(me, my_name, held, lease_seconds, idle_groups, 5, 15, false, false) b;
    end $$
    """,
    // They do not say when they have looked. Whoever had missed a beat then, and has claimed in the last six seconds,
    // has claimed since.
    """
    create or replace function millrace.take_over(dead bigint[], seen_beats bigint[]) returns bigint language sql as $$
      select millrace.take_over(dead, seen_beats, extract(epoch from now())::double precision - 6)
    $$
    """,
    // Of what this one returns they read the first three columns.
    "drop function millrace.maintain(float8)",
    // Once a minute, by one worker, and again at once while it says that there is more: new partitions in time, old
    // ones out of the way and finally away. Each call keeps others out of one table at the most, so that it and a
    // submission, which needs two of them, never wait for each other. Locks that are not to be had at once are asked
    // for again next time, and counted.
    """
    create function millrace.maintain(retention_seconds double precision)
    returns table (moved bigint, dropped bigint, deleted bigint, blocked bigint, is_more boolean)
    language plpgsql as $$
    declare
      size constant bigint := 5000000;
      part bigint;
      key text;
      looked bigint;
    begin
      perform set_config('lock_timeout', '200ms', true);
      moved := 0; dropped := 0; deleted := 0; blocked := 0; is_more := false;
      begin
        perform millrace.ensure_partitions();
      exception when lock_not_available or deadlock_detected then blocked := blocked + 1;
      end;
      -- No statement of theirs is under way any more.
      delete from millrace.worker where has_left and heartbeat_at < now() - interval '10 minutes';
      -- An announcement may have been committed after its worker had left. Should one live, it is told to look.
      perform millrace.mute(array(select i.worker_id from millrace.idle_worker i
        where not exists (select from millrace.worker w where w.id = i.worker_id and not w.has_left)));
      for part in
        select number from millrace.task_part
        where past_since < now() - make_interval(secs => retention_seconds) order by number limit 8
      loop
        begin
          execute format('drop table millrace.task_%s', part);
          delete from millrace.task_part where number = part;
          dropped := dropped + 1;
        exception when lock_not_available or deadlock_detected then blocked := blocked + 1; exit;
        end;
      end loop;
      is_more := dropped > 0;
      if is_more then return next; return; end if;
      for key in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'millrace.unique_key'::regclass
          and substring(c.relname from '\\d+$')::integer < millrace.today() - 1
      loop
        begin
          execute format('drop table millrace.%I', key);
          is_more := true;
        exception when lock_not_available or deadlock_detected then blocked := blocked + 1; exit;
        end;
      end loop;
      if is_more then return next; return; end if;
      -- Whoever moves keeps everybody from the table until the commit, so nothing else is done in that round.
      for part in
        select number from millrace.task_part
        where past_since is null and number < (select last_value from millrace.task_id) / size - 1
          -- A task that is not over stands in one of these three, and an old one never comes back into them.
          and not exists (select from millrace.ready r where r.id >= number * size and r.id < (number + 1) * size)
          and not exists (select from millrace.scheduled s where s.id >= number * size and s.id < (number + 1) * size)
          and not exists (select from millrace.lease l cross join unnest(l.ids) as u (id)
            where u.id >= number * size and u.id < (number + 1) * size)
        order by number limit 8
      loop
        begin
          execute format('alter table millrace.task detach partition millrace.task_%s', part);
          execute format(
            'alter table millrace.task_past attach partition millrace.task_%s for values from (%s) to (%s)',
            part, part * size, (part + 1) * size);
          update millrace.task_part set past_since = now() where number = part;
          moved := moved + 1;
        exception when lock_not_available or deadlock_detected then blocked := blocked + 1; exit;
        end;
      end loop;
      is_more := moved > 0;
      if is_more then return next; return; end if;
      -- Where tasks are so few that a partition takes longer to fill than they are kept, the oldest go one by one.
      -- That comes last: what is moved need not go so. Some of the oldest may not be over yet, and while a lock cannot
      -- be had the rest is left for next time.
      with oldest as materialized (
        select id from millrace.task order by id limit 2000
      ), gone as (
        delete from millrace.task t where t.id in (select id from oldest)
          and t.finished_at < now() - make_interval(secs => retention_seconds)
        returning 1
      )
      select (select count(*) from gone), (select count(*) from oldest) into deleted, looked;
      is_more := blocked = 0 and looked = 2000 and deleted * 2 >= looked;
      return next;
    end $$
    """,
  ]
}
