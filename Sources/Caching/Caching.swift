// Caching: what decides about cached values: which to keep (`S3FIFO`), how long (`LevelTimes`), which are still true
// (`Coherence`), who loads a missing one (`SingleFlight`), and when one is loaded before it is missed (`EarlyRefresh`).
//
// Called by the roles that answer from memory (API now, the store's servers later); calls nobody but Basics. It holds
// values but never fetches them: Redis and PostgreSQL are asked by the caller, who tells the outcome. An eviction
// policy is a file of its own.

public import Basics

/// The bounds of this room.
public enum Limits {
  /// How old the proof may be that all changes were heard.
  public static let coherenceTrust = TimeSpan.milliseconds(900)
  /// How old it is when it is time for another one.
  static let coherenceLook = TimeSpan.milliseconds(300)
  /// Keys of which it is remembered that they were changed, twice.
  public static let coherenceBoundsMax = 32_768
  /// How long a load must take at least, in seconds, for a copy to be loaded anew before its end.
  static let slowLoadSeconds = 0.005
  /// How many callers may wait for one load before more are refused.
  public static let waitersPerFlightMax = 65_536
  /// How many callers lead one load: the first one, and one more if that fails.
  static let leadersPerFlightMax = 2
  /// A hit counter of a cached entry stops here (two bits, after the S3-FIFO paper).
  @usableFromInline static let frequencyMax: UInt8 = 3
  /// Hits that an entry of the small queue needs to move to the main one (after the S3-FIFO paper).
  @usableFromInline static let frequencyToStay: UInt8 = 2
}
