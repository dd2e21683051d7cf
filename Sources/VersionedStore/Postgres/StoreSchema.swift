public import Postgres
public import Reactor
public import Telemetry

/// The tables of a store in PostgreSQL, as numbered steps that are never changed once they were released, and how many
/// partitions it was made with.
public enum StoreSchema {
  /// All steps in order.
  static let migrations = [Migration(1, "keys and their versions", tables + [apply, fill])]

  /// "MILK" in ASCII.
  static let ledger = MigrationLedger("kv_migration", signClass: 0x4D49_4C4B)

  /// `configuration`, for sessions that wait until the tables are those of this program.
  static func fitting(_ configuration: PostgresConfiguration) -> PostgresConfiguration {
    var configuration = configuration
    configuration.schemaLedger = ledger
    configuration.schemaSteps = migrations.count
    return configuration
  }

  /// Brings the tables up to date, and returns the numbers of the steps that were run.
  /// - Throws: `StoreError`.
  public static func migrate(
    _ configuration: PostgresConfiguration, pool: ComputePool, log: Logger, on reactor: isolated Reactor
  ) async throws(StoreError) -> [Int32] {
    do throws(PostgresError) {
      let connection = try await PostgresConnection.connectPatiently(
        configuration, helpers: PostgresConnection.Helpers(pool: pool), log: log, on: reactor)
      defer { connection.close(on: reactor) }
      return try await Migrator(migrations, in: ledger, log: log).run(on: connection, on: reactor)
    } catch {
      throw StoreError(error)
    }
  }

  /// How many partitions there are; `wished` are made if there is none.
  /// - Parameter isWish: whether there must be so many.
  /// - Throws: `StoreError`.
  public static func partitions(
    _ configuration: PostgresConfiguration, wished: Int, isWish: Bool, pool: ComputePool, log: Logger,
    on reactor: isolated Reactor
  ) async throws(StoreError) -> Int {
    let count: Int
    do throws(PostgresError) {
      let connection = try await PostgresConnection.connectPatiently(
        configuration, helpers: PostgresConnection.Helpers(pool: pool), log: log, on: reactor)
      defer { connection.close(on: reactor) }
      var parameters = PostgresParameters()
      parameters.add(Int64(wished))
      // Of several servers that begin at the same time one is first.
      count = Int(try await connection.execute(making, parameters, on: reactor).int64(0, 0))
    } catch {
      throw StoreError(error)
    }
    guard Limits.partitions.contains(count), !isWish || count == wished else {
      throw .foreign("the store in PostgreSQL was made with \(count) partitions, not \(wished), and keeps them")
    }
    return count
  }

  private static let making = PostgresStatement("kv_partitions", "select millrace.kv_partitions($1::bigint)")

  private static let tables = [
    // The row of a partition is locked by whoever changes it, so its revisions are committed in their order.
    """
    create table millrace.kv_partition (
      number integer primary key, revision bigint not null default 0, compacted bigint not null default 0)
    """,
    // Keys and values as bytes: any text is a key, in the order of its bytes, and a client gets back what it has sent.
    """
    create table millrace.kv_item (
      id bigint generated always as identity primary key, partition integer not null, key bytea not null,
      latest bigint not null, oldest bigint not null, is_live boolean not null, expires bigint,
      unique (partition, key)) with (fillfactor = 80)
    """,
    "create index kv_item_expires on millrace.kv_item (partition, expires) where expires is not null",
    """
    create table millrace.kv_version (
      partition integer not null, revision bigint not null, item bigint not null, version bigint not null,
      created bigint not null, expires bigint, value bytea, primary key (partition, revision))
    """,
    "create unique index kv_version_item on millrace.kv_version (item, version)",
    """
    create table millrace.kv_change (
      partition integer not null, name bytea not null, fingerprint bytea not null, outcome text not null,
      created bigint not null, primary key (partition, name))
    """,
    "create index kv_change_created on millrace.kv_change (partition, created)",
    """
    create function millrace.kv_clock() returns bigint language sql as $$
      select (extract(epoch from clock_timestamp()) * 1000000)::bigint
    $$
    """,
    """
    create function millrace.kv_partitions(wished bigint) returns bigint language plpgsql as $$
    begin
      lock table millrace.kv_partition in share row exclusive mode;
      if not exists (select from millrace.kv_partition) then
        insert into millrace.kv_partition (number) select generate_series(0, wished - 1);
      end if;
      return (select count(*) from millrace.kv_partition);
    end $$
    """,
    // `*` is any version, `,1,2,` one of these, null says nothing.
    """
    create function millrace.kv_meets(live bigint, matched text, unmatched text) returns boolean language sql immutable
    as $$
      select (matched is null or live is not null and (matched = '*' or position(',' || live || ',' in matched) > 0))
        and (unmatched is null or live is null
          or unmatched <> '*' and position(',' || live || ',' in unmatched) = 0)
    $$
    """,
  ]

  /// What `PartitionFile.apply` does: changes in their order, each whole or not at all. A row for each change: 0 done,
  /// 1 done before, 2 refused, 3 nothing to delete, 4 another change of this name.
  private static let apply = """
    create function millrace.kv_apply(
      part integer, most bigint, changes bigint[], keys bytea[], actions smallint[], given bytea[], lifetimes bigint[],
      matches text[], none_matches text[], names bytea[], fingerprints bytea[],
      out kind bigint, out step bigint, out outcome text, out o_version bigint, out o_revision bigint,
      out o_created bigint, out o_expires bigint, out o_value bytea, out newest bigint)
    returns setof record language plpgsql as $$
    declare
      now_us bigint; place integer := 1; first integer; c bigint; it millrace.kv_item; live bigint; is_well boolean;
      known millrace.kv_change; gone bigint; forgotten bigint; v bigint; ends bigint; old bigint; operation text;
    begin
      select revision, compacted into newest, gone from millrace.kv_partition where number = part for update;
      now_us := millrace.kv_clock();
      while place <= cardinality(changes) loop
        c := changes[place]; first := place; is_well := true;
        while place <= cardinality(changes) and changes[place] = c loop place := place + 1; end loop;
        step := null; outcome := null; o_version := null; o_revision := null;
        o_created := null; o_expires := null; o_value := null;
        if names[c + 1] is not null then
          select * into known from millrace.kv_change k where k.partition = part and k.name = names[c + 1];
          if found then
            kind := case when known.fingerprint = fingerprints[c + 1] then 1 else 4 end;
            outcome := known.outcome;
            return next;
            continue;
          end if;
        end if;
        for s in first .. place - 1 loop
          select * into it from millrace.kv_item i where i.partition = part and i.key = keys[s];
          live := case when it.is_live and (it.expires is null or it.expires > now_us) then it.latest end;
          step := s - first;
          if not millrace.kv_meets(live, matches[s], none_matches[s]) then
            kind := 2; is_well := false;
            select w.version, w.revision, w.created, w.expires, w.value
            into o_version, o_revision, o_created, o_expires, o_value
            from millrace.kv_version w where w.item = it.id and w.version = live;
          elsif actions[s] = 1 and live is null
            or actions[s] = 2 and live is null and (it.id is null or it.oldest = it.latest)
            or actions[s] = 3 and (live is not null or it.is_live is not true) then
            kind := 3; is_well := false;
          end if;
          exit when not is_well;
        end loop;
        if not is_well then return next; continue; end if;
        outcome := '';
        for s in first .. place - 1 loop
          select * into it from millrace.kv_item i where i.partition = part and i.key = keys[s];
          live := case when it.is_live and (it.expires is null or it.expires > now_us) then it.latest end;
          v := coalesce(it.latest, 0) + 1;
          newest := newest + 1;
          ends := case when lifetimes[s] >= 0 then now_us + lifetimes[s] end;
          old := greatest(coalesce(it.oldest, 1), case when actions[s] = 2 then v else v - most + 1 end);
          operation := case when actions[s] > 0 then 'delete' when live is null then 'create' else 'update' end;
          if it.id is null then
            insert into millrace.kv_item (partition, key, latest, oldest, is_live, expires)
            values (part, keys[s], v, old, actions[s] = 0, ends) returning * into it;
          else
            update millrace.kv_item set latest = v, oldest = old, is_live = actions[s] = 0, expires = ends
            where id = it.id;
          end if;
          insert into millrace.kv_version (partition, revision, item, version, created, expires, value)
          values (part, newest, it.id, v, now_us, ends, case when actions[s] = 0 then given[s] end);
          if old > it.oldest then
            with removed as (delete from millrace.kv_version w where w.item = it.id and w.version < old
              returning w.revision)
            select max(r.revision) into forgotten from removed r;
            gone := greatest(gone, forgotten);
          end if;
          outcome := outcome || operation || ' ' || v || ' ' || v - 1 || ' ' || v - old + 1 || ' ' || newest || ' '
            || now_us || ' ' || coalesce(ends::text, '-') || chr(10);
        end loop;
        kind := 0; step := null;
        if names[c + 1] is not null then
          insert into millrace.kv_change (partition, name, fingerprint, outcome, created)
          values (part, names[c + 1], fingerprints[c + 1], outcome, now_us);
        end if;
        return next;
      end loop;
      update millrace.kv_partition set revision = newest, compacted = gone where number = part;
    end $$
    """
}

extension StoreSchema {
  /// Puts versions in that have their numbers, in their order and all or none: null, or a key that is there already.
  fileprivate static let fill = """
    create function millrace.kv_fill(
      part integer, keys bytea[], versions bigint[], begins smallint[], made bigint[], ends bigint[], given bytea[])
    returns text language plpgsql as $$
    declare
      newest bigint; it millrace.kv_item; ending bigint;
    begin
      select revision into newest from millrace.kv_partition where number = part for update;
      if exists (select from millrace.kv_item i join unnest(keys, begins) as g (key, first) on g.key = i.key
        where i.partition = part and g.first = 1) then
        return (select convert_from(i.key, 'UTF8') from millrace.kv_item i
          join unnest(keys, begins) as g (key, first) on g.key = i.key
          where i.partition = part and g.first = 1 limit 1);
      end if;
      for s in 1 .. cardinality(keys) loop
        ending := nullif(ends[s], 9223372036854775807);
        insert into millrace.kv_item (partition, key, latest, oldest, is_live, expires)
        values (part, keys[s], versions[s], versions[s], given[s] is not null, ending)
        on conflict (partition, key) do update
        set latest = excluded.latest, is_live = excluded.is_live, expires = excluded.expires
        returning * into it;
        newest := newest + 1;
        insert into millrace.kv_version (partition, revision, item, version, created, expires, value)
        values (part, newest, it.id, versions[s], made[s], ending, given[s]);
      end loop;
      update millrace.kv_partition set revision = newest where number = part;
      return null;
    end $$
    """
}

extension StoreError {
  /// What PostgreSQL, or the way to it, has failed with.
  init(_ error: PostgresError) {
    switch error.code {
    case .unavailable, .unfitSchema, .overloaded: self = .unavailable("PostgreSQL: \(error)")
    default: self = error.isOfDisk ? .full : .failed("PostgreSQL: \(error)")
    }
  }
}
