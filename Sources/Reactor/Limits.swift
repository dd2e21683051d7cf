/// The bounds of this room.
public enum Limits {
  /// Ready descriptors taken from the kernel in one turn.
  static let eventsPerTurn = 512
  /// How often, in one turn, writes that wake tasks which write again leave before descriptors are looked at.
  static let flushRoundsPerTurn = 16
  /// Connections taken from a listener in one go, so that a flood of them does not starve those already served.
  static let acceptsPerTurn = 256
  /// How long a listener rests when the process is out of descriptors.
  static let acceptPauseMs: UInt64 = 100
  /// How long a listener that ends waits for connections that are being made: one within a machine takes microseconds.
  static let lastHandshakesMs: UInt64 = 1
  /// Connections that may wait in the kernel for `accept`.
  static let backlog: Int32 = 4096
  /// Jobs that may wait for a compute pool before it refuses more.
  static let computeJobsMax = 65_536
  /// Bytes read by a `Stream` that owns no buffer yet.
  static let firstReadBytes = 2048
  /// Bytes read from a socket in one go by a `Stream` that has more to read.
  static let readChunkBytes = 16_384
  /// Unsent bytes at which a `Stream`'s writer has to wait.
  public static let unsentBytesMax = 32 << 10
}
