import Foundation
import Glibc
import TestSupport
import Testing

@testable import Millrace

/// What every command says to every kind of bad value, and what it ends with.
@Suite(.timeLimit(.minutes(15))) struct SettingsTests {
  /// A command line, variables, the exit code, and the whole output or the beginning of it.
  typealias Row = (line: String, environment: [String: String], code: Int32, output: String)

  private static let key = ["SECRET_KEY": String(repeating: "0", count: 64)]
  private static let up: Int32 = 78

  @Test(
    arguments: [
      // Commands.
      ("wroker", [:], 2, "unknown command 'wroker'; did you mean 'worker'?"),
      ("xyzzy", [:], 2, "unknown command 'xyzzy'; see 'millrace --help'"),
      ("help wroker", [:], 2, "unknown command 'wroker'; did you mean 'worker'?"),
      ("help up now", [:], 2, "'millrace help' takes one command, and no argument 'now'"),
      ("config nothing", [:], 2, "'nothing' is no command with settings; try one of up, balance, api, worker"),
      ("config wroker", [:], 2, "'wroker' is no command with settings; did you mean 'worker'?"),
      ("config version", [:], 2, "'version' is no command with settings; try one of"),
      ("config api extra", [:], 2, "'millrace config api' takes no argument 'extra'"),
      ("config --port 9000", [:], 2, "whose flag is '--port'? Name the command: millrace config balance --port 9000"),
      ("config --markdown up", [:], 2, "whose flag is '--markdown'?"),
      ("version now", [:], 2, "'millrace version' takes no argument 'now'"),
      ("doctor now", [:], 2, "'millrace doctor' takes no argument 'now'"),
      ("up now", [:], 2, "'millrace up' takes no argument 'now'"),
      ("balance now --backend 127.0.0.1:1", [:], 2, "'millrace balance' takes no argument 'now'"),
      ("healthcheck a b", [:], 2, "'millrace healthcheck' takes no argument 'b'"),
      ("healthcheck ftp://x", [:], 2, "'ftp://x' is not http://ADDRESS:PORT/path or unix:/path/to.sock"),
      // Flags.
      ("up --prot 1", [:], 2, "unknown flag '--prot' for 'millrace up'; did you mean '--port'?"),
      ("up --port", [:], 2, "the flag --port needs a value: 1…65535"),
      ("up --port 65536", [:], 2, "--port: '65536' is not a whole number from 1 to 65535"),
      ("up --rate-limit=-1", [:], 2, "--rate-limit: '-1' is not a whole number of at least 0"),
      ("up --db-base-backoff nan", [:], 2, "--db-base-backoff: 'nan' is not a number from 0.01 to 60.0"),
      ("up --strategy best", [:], 2, "--strategy: 'best' is not one of round_robin,"),
      ("up --logs jsom", [:], 2, "--logs: 'jsom' is not one of auto, text, json; did you mean 'json'?"),
      ("up --expose-backend=perhaps", [:], 2, "--expose-backend: 'perhaps' is not on or off"),
      ("up --data=", [:], 2, "--data: the value is empty"),
      ("up --health-path health", [:], 2, "--health-path: 'health' is not a path that begins with '/'"),
      ("worker --worker-name=", [:], 2, "--worker-name: '' is not a name of 1 to 63 bytes"),
      ("doctor --x", [:], 2, "unknown flag '--x' for 'millrace doctor'"),
      // Variables, of the command itself and of what `up` starts: the same words, 78, and nothing started.
      ("up", ["MILLRACE_PROT": "1"], up, "unknown variable MILLRACE_PROT; did you mean MILLRACE_PORT?"),
      ("up", ["MILLRACE_PORT": "0"], up, "MILLRACE_PORT: '0' is not a whole number from 1 to 65535"),
      ("up", ["RATE_LIMIT_REQUESTS": "many"], up, "RATE_LIMIT_REQUESTS: 'many' is not a whole number of at least 0"),
      ("up", ["MILLRACE_HEALTH_PATH": "/a b"], up, "MILLRACE_HEALTH_PATH: '/a b' is not a path"),
      ("up", ["ADMIN_TOKEN": "hunter 2"], up, "ADMIN_TOKEN: the value is not a token of visible ASCII characters"),
      ("up", ["ADMIN_TOKEN_FILE": "/dev/null"], up, "ADMIN_TOKEN_FILE: '/dev/null' is empty"),
      ("up", ["ADMIN_TOKEN_FILE": "/none"], up, "ADMIN_TOKEN_FILE: cannot read '/none': there is no such file"),
      ("up", ["ADMIN_TOKEN_FILE": "/"], up, "ADMIN_TOKEN_FILE: cannot read '/': Is a directory"),
      ("up", ["MILLRACE_REDIS_CONF": "/none"], up, "cannot read '/none'"),
      ("up", ["MILLRACE_HOST": "no.such.host.invalid"], up, "'no.such.host.invalid' is no address to listen on, and"),
      ("up --host 203.0.113.1", [:], up, "this machine has no address '203.0.113.1' to listen on"),
      ("up", ["LB_VIA": "a b"], up, "LB_VIA: 'a b' is not a name of letters, digits, '-', '.' and '_'"),
      (
        "up --argon2-memory-kib 8", [:], up, "ARGON2_MEMORY_KIB: argon2 needs at least 8 KiB of memory for each thread,"
      ),
      ("up --argon2-parallelism 16", ["ARGON2_MEMORY_KIB": "127"], up, "ARGON2_MEMORY_KIB: argon2 needs at least"),
      ("up --argon2-memory-budget-mib 63", [:], up, "ARGON2_MEMORY_BUDGET_MIB: one argon2 task takes 65536 KiB"),
      ("worker --argon2-memory-budget-mib 63", key, 78, "ARGON2_MEMORY_BUDGET_MIB: one argon2 task takes 65536 KiB"),
      ("worker", key.merging(["DB_USER_CONNECTION_LIMIT": "2"]) { $1 }, 78, "DB_USER_CONNECTION_LIMIT: '2' is not"),
      ("worker", ["SECRET_KEY": "hunter2"], 78, "the secret key is not 64 hexadecimal digits"),
      (
        "worker", key.merging(["REDIS_URL": "http://x"]) { $1 }, 78,
        "REDIS_URL is neither redis://HOST:PORT, nor rediss:"
      ),
      ("api", [:], 78, "no secret key: make one with 'openssl rand -hex 32 > secret.key'"),
      ("api", key, 78, "nowhere to listen: --listen 127.0.0.1:8080"),
      ("api --listen 127.0.0.1", key, 78, "'127.0.0.1' is not HOST:PORT or unix:/path (of at most 107 bytes)"),
      ("api --listen 127.0.0.1:65536", key, 78, "'127.0.0.1:65536' is not HOST:PORT or unix:/path"),
      ("api --listen no.such.host.invalid:1", key, 78, "'no.such.host.invalid' is no address to listen on, and"),
      ("api --listen unix:", key, 78, "'unix:' is not HOST:PORT or unix:/path"),
      ("balance", [:], 78, "no server to send requests to: --backend HOST:PORT"),
      ("balance --backend x", [:], 78, "'x' is neither [NAME=]HOST:PORT[*WEIGHT] with a host that can be found nor"),
      ("balance --backend a=127.0.0.1:1,a=127.0.0.1:2", [:], 78, "two servers are called 'a'"),
      ("migrate", ["DB_PORT": "x"], 78, "DB_PORT: 'x' is not a whole number from 1 to 65535"),
      ("bench", ["MILLRACE_BENCH_TASKS": "0"], 78, "MILLRACE_BENCH_TASKS: '0' is not a whole number from 1 to"),
    ] as [Row])
  func isRefusedBeforeAnythingStarts(row: Row) async throws {
    let folder = System.makeFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var environment = row.environment
    environment["PATH"] = ProcessInfo.processInfo.environment["PATH"]
    if row.line.hasPrefix("up"), !row.line.contains("--data") { environment["MILLRACE_DATA"] = folder + "/data" }
    if row.line.hasPrefix("up"), environment["MILLRACE_PORT"] == nil {
      environment["MILLRACE_PORT"] = "\(FreePorts.first())"
    }
    let (code, output) = try await run(row.line.split(separator: " ").map(String.init), environment: environment)
    #expect(code == row.code, "\(output)")
    #expect(output.hasPrefix("millrace: " + row.output), "\(output)")
    // One sentence, which is the last line and the only one.
    #expect(output.filter { $0 == "\n" }.count == 1 && output.hasSuffix("\n"), "\(output)")
    #expect(!output.contains("hunter"), "a secret is shown")
    #expect(access(folder + "/data/postgres", F_OK) != 0, "something was started")
  }

  /// What every setting says to a value of the wrong kind, as a flag and as a variable, to each command that has it.
  @Test func everySettingOfEveryCommandRefusesWhatItCannotMean() {
    var refused = 0
    for setting in Setting.all {
      let bad: [String] =
        switch setting.kind {
        case .flag: ["perhaps"]
        case .integer(let range): ["x", "1.5", "", "\(range.lowerBound - 1)", "99999999999999999999"]
        case .decimal: ["x", "nan", "-1", "1e9"]
        case .choice: ["x", "", "round robin"]
        case .text(.name): [String(repeating: "x", count: 64), "a\nb"]
        case .text(.requestPath): ["x", "/a b", "/a\r\nHost: x", "/ä"]
        case .text(.token): ["a b", "a\n", "ä"]
        case .text(.pseudonym): ["a b", "ä"]
        case .text(.any), .list: []
        }
      for command in Command.allCases where setting.commands.contains(command) {
        for value in bad {
          let inputs = Configuration.Inputs(
            arguments: ["--\(setting.name)=\(value)"], environment: [:], readFile: { _ in .missing })
          let flag = #expect(throws: CommandError.self) { try Configuration(for: command, inputs) }
          #expect(flag?.exitCode == 2 && flag?.message.hasPrefix("--\(setting.name): ") == true)
          refused += 1
          // An empty variable is none.
          guard !value.isEmpty else { continue }
          let variable = #expect(throws: CommandError.self) {
            try Configuration(
              for: command,
              .init(arguments: [], environment: [setting.variable: value], readFile: { _ in .missing }))
          }
          #expect(variable?.exitCode == 78 && variable?.message.hasPrefix("\(setting.variable): ") == true)
        }
      }
    }
    #expect(refused > 200)
  }

  /// How many descriptors a process may have, how many API processes there are, and how many clients may wait in each.
  @Test(arguments: [
    (20_000, 2, 3960), (20_000, 3, 2640), (1024, 3, 109), (256, 3, 7), (100, 3, 1), (1_073_741_816, 3, 1_000_000),
    (Int.max, 1, 1_000_000),
  ])
  func whoWaitsLeavesDescriptorsToOthers(descriptors: Int, apis: Int, waiters: Int) {
    #expect(TaskRoles.waitersMax(apis: apis, descriptors: descriptors) == waiters)
  }
}
