public import Postgres
public import Reactor
public import Telemetry

/// The tables of values, as numbered steps that are never changed once they were released.
public enum DataSchema {
  /// All steps in order.
  static let migrations = [
    Migration(1, "data items, and their cache", tables),
    Migration(2, "entries of the cache itself; rights on the items alone are enough to change them", entries),
    Migration(3, "a key's new name, and the end of all items at whatever time that is", names),
  ]

  /// "MILD" in ASCII.
  static let ledger = MigrationLedger("data_migration", signClass: 0x4D49_4C44)

  /// `configuration`, for sessions that wait until the tables are those of this program.
  static func fitting(_ configuration: PostgresConfiguration) -> PostgresConfiguration {
    var configuration = configuration
    configuration.schemaLedger = ledger
    configuration.schemaSteps = migrations.count
    return configuration
  }

  /// Brings the tables up to date, whoever else does so at the same time, and returns the numbers of the steps that
  /// were run.
  /// - Throws: `DataError`; the tables are then at the last step that was committed.
  public static func migrate(
    _ configuration: PostgresConfiguration, pool: ComputePool, log: Logger, on reactor: isolated Reactor
  ) async throws(DataError) -> [Int32] {
    do {
      let connection = try await PostgresConnection.connectPatiently(
        configuration, helpers: PostgresConnection.Helpers(pool: pool), log: log, on: reactor)
      defer { connection.close(on: reactor) }
      return try await Migrator(migrations, in: ledger, log: log).run(on: connection, on: reactor)
    } catch {
      throw DataError(error)
    }
  }

  private static let tables = [
    "create sequence millrace.data_version",
    // `json` and not `jsonb`: a client gets back what it has sent.
    """
    create table millrace.data_items (
      key text primary key, value json not null, version bigint not null default nextval('millrace.data_version'),
      updated_at timestamptz not null default now())
    """,
    // Whoever changes a row, with psql too, gives it another version: a value that was read before is not kept then.
    """
    create function millrace.data_item_changes() returns trigger language plpgsql as $$
    begin
      new.version := nextval('millrace.data_version');
      new.updated_at := now();
      return new;
    end $$
    """,
    """
    create trigger data_item_changes before update on millrace.data_items
    for each row execute function millrace.data_item_changes()
    """,
    // What is lost with it is only time: nothing of it has to be written twice.
    """
    create unlogged table millrace.data_cache (
      key text primary key, value json not null, version bigint not null,
      loaded_at timestamptz not null, expires_at timestamptz not null)
    """,
    "create index data_cache_expires_at on millrace.data_cache (expires_at)",
    // What was kept goes with the change, and all processes hear of it. A key that is too long for the API nobody there
    // can have asked for, and a notification has no room for it.
    """
    create function millrace.data_item_changed() returns trigger language plpgsql as $$
    declare
      changed text := case when tg_op = 'DELETE' then old.key else new.key end;
      number bigint := case when tg_op = 'DELETE' then nextval('millrace.data_version') else new.version end;
    begin
      delete from millrace.data_cache where key = changed;
      if octet_length(changed) <= \(Limits.keyBytesMax) then
        perform pg_notify('\(DataChange.channel)', 'v' || number || ' ' || changed);
      end if;
      return null;
    end $$
    """,
    """
    create trigger data_item_changed after insert or update or delete on millrace.data_items
    for each row execute function millrace.data_item_changed()
    """,
    """
    create function millrace.data_items_emptied() returns trigger language plpgsql as $$
    begin
      delete from millrace.data_cache;
      perform pg_notify('\(DataChange.channel)',
        'a' || \(DataStore.clock));
      return null;
    end $$
    """,
    """
    create trigger data_items_emptied after truncate on millrace.data_items
    for each statement execute function millrace.data_items_emptied()
    """,
    """
    insert into millrace.data_items (key, value) values
      ('1', '{"id":1,"name":"first item"}'), ('2', '{"id":2,"name":"second item"}'),
      ('3', '{"id":3,"name":"third item"}'), ('default', '{"id":0,"name":"default item"}')
    """,
  ]

  private static let entries = [
    """
    create unlogged table millrace.data_entry (
      key text primary key, value json not null, version bigint not null,
      stored_at timestamptz not null, expires_at timestamptz not null)
    """,
    "create index data_entry_expires_at on millrace.data_entry (expires_at)",
    // Whoever may change an item need not have rights on what is kept beside it, nor on the sequence: the functions run
    // with those of their owner, and find nothing by a path that somebody else has set.
    "alter table millrace.data_items alter version drop default",
    "drop trigger data_item_changes on millrace.data_items",
    """
    create trigger data_item_changes before insert or update on millrace.data_items
    for each row execute function millrace.data_item_changes()
    """,
    "alter function millrace.data_item_changes() security definer set search_path = pg_catalog, pg_temp",
    "alter function millrace.data_item_changed() security definer set search_path = pg_catalog, pg_temp",
    "alter function millrace.data_items_emptied() security definer set search_path = pg_catalog, pg_temp",
    // The key of the first line that people try.
    """
    insert into millrace.data_items (key, value) values ('my_data', '{"id":4,"name":"my data"}')
    on conflict (key) do nothing
    """,
  ]

  private static let names = [
    // An item that is called by another name is one no more by the former.
    """
    create function millrace.data_item_renamed() returns trigger language plpgsql
    security definer set search_path = pg_catalog, pg_temp as $$
    begin
      delete from millrace.data_cache where key = old.key;
      if octet_length(old.key) <= \(Limits.keyBytesMax) then
        perform pg_notify('\(DataChange.channel)', 'v' || new.version || ' ' || old.key);
      end if;
      return null;
    end $$
    """,
    """
    create trigger data_item_renamed after update on millrace.data_items
    for each row when (old.key <> new.key) execute function millrace.data_item_renamed()
    """,
    // Others read what is kept until the commit, and when that will be is not known yet.
    """
    create or replace function millrace.data_items_emptied() returns trigger language plpgsql
    security definer set search_path = pg_catalog, pg_temp as $$
    begin
      delete from millrace.data_cache;
      perform pg_notify('\(DataChange.channel)', 'a\(Int64.max)');
      return null;
    end $$
    """,
  ]
}
