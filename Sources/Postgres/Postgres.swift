// Postgres: PostgreSQL for code that must never block: libpq's non-blocking half in pipeline mode on a reactor.
//
// `PostgresClient` is what rooms above call: it keeps a few connections alive, prepares statements where they are
// first used, and lets many requests be in flight on one connection at once. `PostgresConnection` is one connection,
// whose `notificationReceiver` hears NOTIFY, `Migrator` brings a schema up to date, `SchemaFit` tells whether it is so
// for a program. It calls the reactor below and libpq, and hands results back through the awaiting task. SQL does not
// live here but in the room that owns the tables; a new wire type is an encoder in `PostgresParameters.swift` and a
// reader in `PostgresResult.swift`.

import Basics

/// The bounds of this room.
public enum Limits {
  /// Requests in flight or waiting on one connection before callers are told that the database is too busy.
  static let requestsPerConnection = 4096
  /// How long one request may take before it is cancelled, unless the caller says otherwise.
  public static let requestSeconds: UInt64 = 15
  /// The oldest server that will do, as libpq numbers them: what is sent was tried on this one and newer ones.
  static let serverVersionMin: CInt = 150_000
  /// An answer of so many bytes makes libpq keep more memory than is right for what most answers are,
  static let swollenBytes = 1 << 20
  /// and for so long the connection has nothing to do before it is replaced.
  static let swollenPause = TimeSpan.seconds(3 as UInt64)
  /// How long one attempt to connect may take.
  static let connectSeconds: UInt64 = 5
  /// How long a caller waits for a connection before it gets `unavailable`.
  static let waitForConnectionSeconds: UInt64 = 3
  /// The longest pause between two attempts to connect.
  static let backoffCapSeconds: UInt64 = 5
  /// How long a request that has passed its deadline behind others may take when its turn has come at last.
  static let lateStopSeconds: UInt64 = 1
  /// How long after its deadline a cancelled request may keep the server silent before the connection is given up.
  static let silenceSeconds: UInt64 = 10
  /// How often tables are looked at that do not fit the program yet, in milliseconds.
  static let schemaLookMs: UInt64 = 500
  /// How long one statement of a migration may take: it may read through a partition of millions of tasks.
  static let migrationSeconds: UInt64 = 3600
  /// How long a program waits for another one that migrates.
  static let migrationLockSeconds: UInt64 = 300
  /// How long it waits for a lock, in milliseconds, how often it is tried, and after what pause.
  static let migrationLockMs = 2000
  static let migrationTries = 60
  static let migrationPauseMs: UInt64 = 500
  /// How often it says how far it is.
  static let migrationProgressMs: UInt64 = 1000
}
