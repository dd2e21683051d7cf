// swift-tools-version: 6.2
// The house of Millrace. A target imports only what stands on a lower floor; `Tests/TidyTests` holds it to that.

import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("ExistentialAny"),
  .treatAllWarnings(as: .error),
  // Dynamic exclusivity checks are about 90 % of the cost of touching a class property inside the event loop.
  // So is asking the runtime in each closure whose executor it runs on; debug builds do ask. Rooms are small, so their
  // functions are inlined in each other: a tenth of the byte path's own time.
  .unsafeFlags(
    ["-cross-module-optimization", "-enforce-exclusivity=unchecked", "-Xfrontend", "-disable-dynamic-actor-isolation"],
    .when(configuration: .release)),
]

/// A room of the house: a target and the rooms below it that it calls.
func room(_ name: String, _ dependencies: [String], _ more: [SwiftSetting] = []) -> Target {
  .target(name: name, dependencies: dependencies.map { .byName(name: $0) }, swiftSettings: settings + more)
}

/// For what a hundred thousand stories are run through in tests: half the time, also in a debug build.
let optimized: [SwiftSetting] = [.unsafeFlags(["-O"], .when(configuration: .debug))]

func tests(_ name: String, _ dependencies: [String], _ more: [SwiftSetting] = []) -> Target {
  .testTarget(
    name: name, dependencies: dependencies.map { .byName(name: $0) },
    swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)] + more)
}

let package = Package(
  name: "Millrace",
  products: [.executable(name: "millrace", targets: ["Millrace"])],
  targets: [
    // Floor 0: C. Headers and shims, no logic.
    .target(name: "CLinux"),
    .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    // Its headers and library are in the compiler's own folders; what its pkg-config file adds, the build refuses aloud.
    .systemLibrary(name: "CHiredis", providers: [.apt(["libhiredis-dev"])]),
    .systemLibrary(name: "CArgon2", pkgConfig: "libargon2", providers: [.apt(["libargon2-dev"])]),
    .systemLibrary(name: "CTLS", pkgConfig: "libssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),

    // Floor 1: what everything stands on.
    room("Basics", ["CLinux"]),
    room("Telemetry", ["CLinux", "Basics"]),
    room("Reactor", ["CLinux", "Basics"]),

    // Floor 2: protocols and cryptography.
    room("Hashing", ["CArgon2", "CCrypto", "Basics"]),
    room("HTTPSyntax", ["Basics"]),
    room("HTTP", ["CLinux", "Basics", "Telemetry", "Reactor", "HTTPSyntax"]),
    room("Postgres", ["CPostgres", "CTLS", "Basics", "Telemetry", "Reactor"]),
    room("TLS", ["CTLS"]),
    room("Redis", ["CHiredis", "Basics", "Telemetry", "Reactor", "TLS"]),

    // Floor 3: the domain. No sockets of its own.
    room("Exchange", ["Basics"]),
    room("Balancing", ["Basics"]),
    room("Caching", ["Basics"], optimized),
    room("Tasks", ["Basics", "Telemetry", "Reactor", "Hashing"]),
    room("TaskQueue", ["Basics", "Telemetry", "Reactor", "Postgres"], optimized),
    room("DataItems", ["Basics", "Telemetry", "Reactor", "Postgres"]),
    room(
      "VersionedStore",
      ["CSQLite", "Basics", "Telemetry", "Reactor", "Hashing", "Postgres", "Balancing", "Caching"]),
    room("Tokens", ["Basics", "Hashing"]),
    room("Backends", ["Basics", "Telemetry", "Reactor", "HTTPSyntax", "HTTP", "Hashing", "Balancing"]),
    room("Roles", ["CLinux", "Basics", "Telemetry", "Reactor", "HTTPSyntax", "HTTP", "Tokens"]),

    // Floor 4: roles, and the tools that run them.
    room(
      "Balancer",
      [
        "CLinux", "Basics", "Telemetry", "Reactor", "HTTPSyntax", "HTTP", "Exchange", "Balancing", "Backends", "Tokens",
        "VersionedStore", "Roles",
      ]),
    room(
      "API",
      [
        "Basics", "Telemetry", "Reactor", "HTTPSyntax", "HTTP", "Redis", "Balancing", "Caching", "Hashing", "Tasks",
        "TaskQueue", "DataItems", "Backends", "Tokens", "Roles",
      ]),
    room("Worker", ["Basics", "Telemetry", "Reactor", "HTTP", "Redis", "Hashing", "Tasks", "TaskQueue", "Roles"]),
    room("ComputeService", ["Basics", "Telemetry", "Reactor", "HTTPSyntax", "HTTP", "Roles"]),
    room(
      "KeyValueServer",
      [
        "Basics", "Telemetry", "Reactor", "HTTPSyntax", "HTTP", "Hashing", "Postgres", "Caching", "VersionedStore",
        "Roles",
      ]),
    room("LoadTest", ["Basics", "Telemetry", "Reactor", "Postgres", "TaskQueue"]),
    room("Launcher", ["CLinux", "Basics", "Telemetry", "Reactor", "Hashing", "Tokens", "Roles"]),

    // Floor 5: the executable.
    .executableTarget(
      name: "Millrace",
      dependencies: [
        "CLinux", "Basics", "Telemetry", "Reactor", "HTTPSyntax", "HTTP", "Postgres", "Redis", "Tasks", "TaskQueue",
        "DataItems", "Hashing",
        "Balancing", "Backends", "TLS", "Tokens", "VersionedStore", "Balancer", "API", "Worker", "ComputeService",
        "KeyValueServer",
        "Launcher", "LoadTest",
      ], swiftSettings: settings),

    // Tests, a folder for each room and one for the whole.
    .target(
      name: "TestSupport", dependencies: ["Basics", "HTTPSyntax", "Reactor", "Redis"], path: "Tests/TestSupport",
      resources: [.copy("Corpus")]),
    tests(
      "APITests",
      [
        "API", "Backends", "Basics", "Caching", "ComputeService", "DataItems", "HTTP", "Hashing", "Postgres", "Reactor",
        "Redis", "TaskQueue",
        "Tasks", "Telemetry",
        "TestSupport", "Tokens",
      ]),
    tests("TasksTests", ["Basics", "Hashing", "Reactor", "Tasks", "Telemetry", "TestSupport"]),
    tests("TaskQueueTests", ["Basics", "Reactor", "Telemetry", "Postgres", "TaskQueue", "TestSupport"], optimized),
    tests("DataItemsTests", ["Basics", "DataItems", "Postgres", "Reactor", "Telemetry", "TestSupport"]),
    tests(
      "VersionedStoreTests",
      ["Basics", "Hashing", "Postgres", "Reactor", "Telemetry", "TestSupport", "VersionedStore"], optimized),
    tests(
      "KeyValueServerTests",
      ["Basics", "HTTP", "HTTPSyntax", "KeyValueServer", "Reactor", "Telemetry", "TestSupport", "VersionedStore"]),
    tests("PostgresTests", ["Basics", "Reactor", "Telemetry", "Postgres", "TestSupport"]),
    tests("BasicsTests", ["Basics"]),
    tests("TelemetryTests", ["Basics", "Telemetry"]),
    tests("ReactorTests", ["Basics", "Reactor", "TestSupport"]),
    tests(
      "BalancerTests",
      [
        "Basics", "Telemetry", "Reactor", "HTTPSyntax", "HTTP", "Exchange", "Balancing", "Backends", "Balancer",
        "Tokens", "TestSupport", "VersionedStore",
      ]),
    tests("HTTPSyntaxTests", ["Basics", "HTTPSyntax", "TestSupport"]),
    tests("HTTPTests", ["Basics", "Reactor", "Telemetry", "HTTPSyntax", "HTTP", "Roles", "TestSupport"]),
    tests("RolesTests", ["Basics", "HTTP", "HTTPSyntax", "Hashing", "Reactor", "Roles", "TestSupport", "Tokens"]),
    tests("TokensTests", ["Basics", "Hashing", "TestSupport", "Tokens"]),
    tests("HashingTests", ["Basics", "CArgon2", "Hashing", "TestSupport"]),
    tests("BalancingTests", ["Basics", "Balancing"]),
    tests("ExchangeTests", ["Basics", "Exchange"]),
    tests("CachingTests", ["Basics", "Caching"], optimized),
    tests(
      "WorkerTests",
      [
        "Basics", "HTTP", "Hashing", "Postgres", "Reactor", "TaskQueue", "Tasks", "Telemetry", "TestSupport", "Worker",
      ]),
    tests("TidyTests", ["TestSupport"]),
    tests(
      "LauncherTests",
      [
        "Basics", "HTTP", "Hashing", "Launcher", "Millrace", "Reactor", "Redis", "TaskQueue", "Telemetry",
        "TestSupport",
      ]),
    tests(
      "HistoryTests",
      [
        "Basics", "HTTP", "HTTPSyntax", "Millrace", "Postgres", "Reactor", "TaskQueue", "Tasks", "Telemetry",
        "TestSupport",
      ]),
    tests("RedisTests", ["Basics", "Telemetry", "Reactor", "Redis", "TLS", "TestSupport"]),
  ]
)
