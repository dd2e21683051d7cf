// DataItems: the values behind `GET /data`, and what PostgreSQL keeps of the cache before them.
//
// The API calls this room for what a key's value is, and tells it of new ones; `millrace migrate` has it make its
// tables. It calls `Postgres` and nobody else: which value may be answered how long is decided in `Caching`, and memory
// and Redis are the API's. It owns its connections.
//
//   DataSchema   the tables, as numbered steps with a ledger of their own
//   DataKey      what is asked for: an item, or an entry of the cache itself
//   DataStore    all statements there are
//   DataChange   what is told of changes
//   DataFeed     who hears that, and proves that all was heard
//
// A new column is a new step at the end of `DataSchema.migrations`.

import Basics

/// The bounds of this room.
public enum Limits {
  /// Bytes of a key.
  public static let keyBytesMax = 512
  /// Bytes of a value, as JSON.
  public static let valueBytesMax = 256 << 10
  /// How long a statement may take.
  static let patience = TimeSpan.seconds(3 as UInt64)
  /// Expired values of the cache that are removed in one go: others wait for a row meanwhile.
  static let prunedAtOnce = 1000
}
