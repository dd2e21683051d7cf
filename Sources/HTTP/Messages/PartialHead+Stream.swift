import Basics
import HTTPSyntax
import Reactor

extension PartialHead {
  /// Reads until what `stream` holds, all of which was parsed in vain, is worth parsing again.
  mutating func readMore(
    from stream: Stream, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async -> Stream.ReadOutcome {
    var seen = stream.input.count
    parsedInVain(seen)
    while true {
      let outcome = await stream.read(until: deadline, on: reactor)
      let isWorthIt = stream.input.withReadable {
        isWorthParsing(UnsafeRawBufferPointer(rebasing: $0[seen...]), of: $0.count)
      }
      if outcome != .bytes || isWorthIt { return outcome }
      seen = stream.input.count
    }
  }
}
