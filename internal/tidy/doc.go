// Package tidy holds the house rules as tests: which room may call which, what the quiet floor may not
// touch, how large things may grow, what is explained and what is promised in the docs. It has no code
// besides its tests, starts no goroutine and reads the repository's files only, so it needs nothing but Go.
//
// A rule is a function from parsed files to findings, one sentence each with file and line. Every rule is
// itself tested: testdata tells, for a broken piece of source, what the rule must say about it. A rule that
// cannot fail would be worse than none.
//
// An exception to a rule stands in a table beside the rule, with its reason.
package tidy
