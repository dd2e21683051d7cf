import Foundation

/// A folder of a test's own, which goes with everything in it when nobody holds it any more.
public final class TemporaryFolder: Sendable {
  /// Where it is: short enough for a Unix socket in it.
  public let path: String

  /// Makes a folder in /tmp.
  public init() {
    path = String(cString: mkdtemp(strdup("/tmp/millrace-test-XXXXXX")))
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
