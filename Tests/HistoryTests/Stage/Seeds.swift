import Basics
import Foundation

/// The seed that somebody wants to see again: `MILLRACE_SEED=17 swift test --filter HistoryTests`.
let chosenSeed = ProcessInfo.processInfo.environment["MILLRACE_SEED"].flatMap { UInt64($0) }
