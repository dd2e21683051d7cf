import Foundation

/// The real program: `MILLRACE_EXECUTABLE`, or the one that was built beside the tests.
public let executable: String = {
  if let path = ProcessInfo.processInfo.environment["MILLRACE_EXECUTABLE"] { return path }
  return URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "millrace").path
}()
