extension QueueSchema {
  /// What step 3 is prepared by. With a bound of its own that is known to hold, moving a partition needs no look at its
  /// rows. To find that it holds needs one, while everybody may go on working, and there may be hundreds of partitions
  /// of millions of rows.
  static let nextBound = """
    with part as (
      select c.relname, substring(c.relname from '\\d+$')::bigint as number, k.convalidated as is_valid
      from pg_inherits i join pg_class c on c.oid = i.inhrelid
        left join pg_constraint k on k.conrelid = c.oid and k.conname = 'bound'
      where i.inhparent = 'millrace.task'::regclass
    )
    select format(
        case when is_valid is null
          then 'alter table millrace.%I add constraint bound check (id >= %s and id < %s) not valid'
          else 'alter table millrace.%I validate constraint bound' end,
        relname, number * 5000000, (number + 1) * 5000000),
      (select count(*) from part where is_valid), (select count(*) from part)
    from part where is_valid is not true order by number limit 1
    """

  /// Step 3, what ages. A statement under a generic plan opens and locks every partition of its table, so `task` keeps
  /// only those partitions in which something may still happen, two or three of them; whole partitions of tasks that
  /// are over go to `task_past`, which no claim, no completion and no submission ever names, and from there they are
  /// dropped. Keys live in partitions of a day each, of which the last two are asked.
  static let partsByAge = [
    "drop function millrace.heartbeat(bigint, text, bigint[], smallint[], float8, float8, boolean)",
    "drop function millrace.rescue(bigint[])",
    "drop function millrace.ensure_partitions()",
    "alter table millrace.task add column secret boolean not null default false",
    // Those that are not over stand in one of these three.
    """
    update millrace.task set secret = true where kind = 'argon2' and state = 0 and id in (
      select id from millrace.ready union select unnest(ids) from millrace.lease
      union select id from millrace.scheduled)
    """,
    "create table millrace.task_past (like millrace.task including defaults, primary key (id)) partition by range (id)",
    // A partition under its number: tasks from number times five million on.
    """
    create table millrace.task_part (
      number bigint primary key, opened_at timestamptz not null default now(), past_since timestamptz
    )
    """,
    // Some may have come since the bounds were put on all others.
    """
    do $$
    declare part bigint;
    begin
      for part in
        select substring(c.relname from '\\d+$')::bigint
        from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'millrace.task'::regclass
      loop
        if not exists (select from pg_constraint
          where conname = 'bound' and conrelid = format('millrace.task_%s', part)::regclass)
        then
          execute format('alter table millrace.task_%s add constraint bound check (id >= %s and id < %s)',
            part, part * 5000000, (part + 1) * 5000000);
        end if;
        insert into millrace.task_part (number) values (part);
      end loop;
    end $$
    """,
    """
    create function millrace.today() returns integer stable language sql as
      'select floor(extract(epoch from now()) / 86400)::integer'
    """,
    // Always two ahead of the last id given out. CREATE and ATTACH rather than PARTITION OF: the latter would lock out
    // everybody who reads the parent.
    """
    create function millrace.ensure_partitions() returns void language plpgsql as $$
    declare
      size constant bigint := 5000000;
      wanted bigint := (select last_value from millrace.task_id) / size + 2;
      today integer := millrace.today();
      part bigint;
    begin
      if to_regclass('millrace.task_' || wanted) is null
        or to_regclass('millrace.unique_key_' || today + 1) is null
      then
        perform pg_advisory_xact_lock(1296649044);
        for part in wanted - 2 .. wanted loop
          continue when part < 0 or to_regclass('millrace.task_' || part) is not null;
          execute format('create table millrace.task_%s (like millrace.task including defaults,
            primary key (id), constraint bound check (id >= %s and id < %s)) with (fillfactor = 50)',
            part, part * size, (part + 1) * size);
          execute format('alter table millrace.task attach partition millrace.task_%s for values from (%s) to (%s)',
            part, part * size, (part + 1) * size);
          insert into millrace.task_part (number) values (part);
        end loop;
        for part in today - 1 .. today + 1 loop
          continue when to_regclass('millrace.unique_key_' || part) is not null;
          execute format('create table millrace.unique_key_%s (like millrace.unique_key,
            primary key (day, digest), constraint bound check (day = %s))', part, part);
          execute format('alter table millrace.unique_key attach partition millrace.unique_key_%s for values in (%s)',
            part, part);
        end loop;
      end if;
    end $$
    """,
    // A keyed digest of kind and input, and the task that has them.
    "drop table millrace.unique_key",
    """
    create table millrace.unique_key (
      task_id bigint not null, day integer not null, digest uuid not null, primary key (day, digest)
    ) partition by list (day)
    """,
    "select millrace.ensure_partitions()",
    // Once every few seconds, by one worker: new partitions in time, old ones out of the way and finally away. Locks
    // that are not to be had at once are tried for again next time.
    """
    create function millrace.maintain(retention_seconds double precision)
    returns table (moved bigint, dropped bigint, deleted bigint)
    language plpgsql as $$
    declare
      size constant bigint := 5000000;
      part bigint;
      key text;
    begin
      perform millrace.ensure_partitions();
      perform set_config('lock_timeout', '200ms', true);
      moved := 0;
      dropped := 0;
      for part in
        select number from millrace.task_part
        where past_since < now() - make_interval(secs => retention_seconds) order by number limit 8
      loop
        begin
          execute format('drop table millrace.task_%s', part);
          delete from millrace.task_part where number = part;
          dropped := dropped + 1;
        exception when lock_not_available then exit;
        end;
      end loop;
      for key in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'millrace.unique_key'::regclass
          and substring(c.relname from '\\d+$')::integer < millrace.today() - 1
      loop
        begin
          execute format('drop table millrace.%I', key);
        exception when lock_not_available then exit;
        end;
      end loop;
      -- Where tasks are so few that a partition takes longer to fill than they are kept, the oldest go one by one.
      with oldest as materialized (
        select id from millrace.task order by id limit 2000
      ), gone as (
        delete from millrace.task t where t.id in (select id from oldest)
          and t.finished_at < now() - make_interval(secs => retention_seconds)
        returning 1
      )
      select count(*) into deleted from gone;
      -- Moving comes last: whoever moves keeps everybody from the table until the commit.
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
        exception when lock_not_available then exit;
        end;
      end loop;
      return next;
    end $$
    """,
    // Tasks of partitions that nobody else looks into, each named directly.
    """
    create function millrace.past(wanted bigint[]) returns setof millrace.task_past language plpgsql stable as $$
    declare part bigint;
    begin
      for part in select distinct id / 5000000 from unnest(wanted) as u (id) where id > 0 loop
        if exists (select from millrace.task_part where number = part and past_since is not null) then
          begin
            return query execute format(
              'select * from millrace.task_%s where id in (select unnest($1))', part) using wanted;
          -- It was dropped at this very moment: its tasks are gone.
          exception when undefined_table then null;
          end;
        end if;
      end loop;
    end $$
    """,
  ]
}
