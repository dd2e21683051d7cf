import Basics
import Glibc

/// The keys of a file as they are now. Whoever asks pays for the look, at most once a second: a question to the kernel,
/// and a read of a few hundred bytes where its answer has changed. So a system that gets no tokens does nothing.
final class LiveTokenKeys: Sendable {
  /// What tells one file from the one that was put in its place.
  private struct Stamp: Equatable {
    let device: dev_t
    let number: ino_t
    let bytes: off_t
    let seconds: time_t
    let nanoseconds: Int
    let changedSeconds: time_t
    let changedNanoseconds: Int

    /// Nil if there is no file.
    init?(path: String) {
      var status = stat()
      guard stat(path, &status) == 0 else { return nil }
      (device, number, bytes) = (status.st_dev, status.st_ino, status.st_size)
      (seconds, nanoseconds) = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
      // Who may read it may have changed, and nothing else.
      (changedSeconds, changedNanoseconds) = (status.st_ctim.tv_sec, status.st_ctim.tv_nsec)
    }
  }

  private struct State {
    var keys: TokenKeys
    var stamp: Stamp?
    var lookedAt: Double
    /// Why the file could not be read when that was last tried.
    var failure: TokenKeys.Failure?
  }

  private let path: String
  private let told: @Sendable (TokenKeys.Failure?) -> Void
  private let state: Locked<State>

  /// - Throws: `TokenKeys.Failure` if the file cannot be read now.
  init(path: String, told: @escaping @Sendable (TokenKeys.Failure?) -> Void) throws(TokenKeys.Failure) {
    self.path = path
    self.told = told
    // Looked at before it is read: one that is replaced in between is read once too often, and never too seldom.
    let stamp = Stamp(path: path)
    state = Locked(State(keys: try TokenKeys.load(path: path), stamp: stamp, lookedAt: -.infinity))
  }

  /// The keys when it last looked.
  var known: TokenKeys { state.withLock { $0.keys } }

  /// The keys at `now`, seconds since the Unix epoch.
  func keys(at now: Double) -> TokenKeys {
    // A clock that was set back must not keep it from looking.
    let (keys, isDue) = state.withLock { state in
      (state.keys, abs(now - state.lookedAt) >= Limits.lookEverySeconds)
    }
    return isDue ? changedKeys(from: keys, at: now) ?? keys : keys
  }

  /// Looks at the file; the keys, if they are others than `known`. Another thread may have read them meanwhile.
  func changedKeys(from known: TokenKeys, at now: Double) -> TokenKeys? {
    let (keys, news) = state.withLock { state -> (TokenKeys, Result<Void, TokenKeys.Failure>?) in
      let stamp = Stamp(path: path)
      state.lookedAt = now
      if state.stamp == stamp { return (state.keys, nil) }
      do throws(TokenKeys.Failure) {
        state.keys = try TokenKeys.load(path: path)
        // Not before: what could not be read is read again.
        (state.stamp, state.failure) = (stamp, nil)
        return (state.keys, .success(()))
      } catch {
        defer { state.failure = error }
        return (state.keys, state.failure == error ? nil : .failure(error))
      }
    }
    switch news {
    case .success: told(nil)
    case .failure(let failure): told(failure)
    case nil: break
    }
    return keys == known ? nil : keys
  }
}
