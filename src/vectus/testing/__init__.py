"""Published conformance suites and fakes for other people's stores, lockers and front ends."""
