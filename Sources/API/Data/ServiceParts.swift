import Basics
import Caching
import DataItems
import Reactor

/// The compute services' parts of `GET /data/complex`, each kept in this process's memory for a minute. The other part
/// is the row, which has a cache of its own that hears of changes; what is computed beside it is no part of any row,
/// and goes with it all the same when somebody says that the key is not good any more.
final class ServiceParts {
  /// What a service has said, and when.
  struct Part {
    let answer: ServiceAnswer
    let at: Timestamp
    let keptAt: MonotonicTime
  }

  private enum News {
    case part(Part)
    case lead
    case failed(ComputeServices.Failure)
  }

  private typealias Waiter = UnsafeContinuation<News, Never>

  private var parts: S3FIFO<DataKey, Part>
  private var flights = SingleFlight<DataKey, Waiter>()

  init(bytesMax: Int) {
    parts = S3FIFO(entriesMax: Limits.dataEntriesMax, bytesMax: bytesMax)
  }

  /// The part for `key`, and whether it was kept, at a time that is `believed`: else one of `services` is asked, once
  /// for all who want it at a time, and told `fields`.
  /// - Throws: what they throw.
  func part(
    _ key: DataKey, believed: (MonotonicTime) -> Bool, from services: ComputeServices,
    _ fields: [(name: String, value: String)],
    on reactor: isolated Reactor
  ) async throws(ComputeServices.Failure) -> (part: Part, isKept: Bool) {
    if let kept = parts.value(for: key, at: reactor.now), believed(kept.value.keptAt) { return (kept.value, true) }
    switch flights.join(key) {
    case .refused: throw .unavailable
    case .lead(let flight): return (try await lead(flight, key, services, fields, on: reactor), false)
    case .follow(let flight):
      switch await withUnsafeContinuation({ flights.wait($0, for: flight) }) {
      case .part(let part): return (part, false)
      case .lead: return (try await lead(flight, key, services, fields, on: reactor), false)
      case .failed(let failure): throw failure
      }
    }
  }

  private func lead(
    _ flight: SingleFlight<DataKey, Waiter>.Flight, _ key: DataKey, _ services: ComputeServices,
    _ fields: [(name: String, value: String)], on reactor: isolated Reactor
  ) async throws(ComputeServices.Failure) -> Part {
    do throws(ComputeServices.Failure) {
      let answer = try await services.process(fields, on: reactor)
      let part = Part(answer: answer, at: Timestamp.current(), keptAt: reactor.now)
      if !flights.isOvertaken(flight) {
        let bytes = key.text.utf8.count + answer.message.count + answer.serviceID.count + 128
        parts.set(part, for: key, bytes: bytes, expiry: reactor.now + Limits.complexLifetime, at: reactor.now)
      }
      for waiter in flights.land(flight) { waiter.resume(returning: .part(part)) }
      return part
    } catch {
      switch flights.fail(flight) {
      case .elected(let waiter): waiter.resume(returning: .lead)
      case .over(let waiters): for waiter in waiters { waiter.resume(returning: .failed(error)) }
      }
      throw error
    }
  }

  /// Forgets the part for `key`, and one that is on its way.
  func forget(_ key: DataKey) {
    flights.overtake(key)
    parts.remove(key)
  }

  /// Forgets all of them.
  func forgetAll() {
    flights.overtakeAll()
    parts.removeAll()
  }
}
