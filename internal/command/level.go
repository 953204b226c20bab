package command

// Level is the feature level of this release: the newest commands and formats between members that it knows.
// A cluster runs at the lowest level of its members, so that a release can be rolled out one member after the
// other: what a level brought is proposed only once the cluster has reached it.
//
//	1  one member alone
//	2  several members: changes of the membership, announcements of releases, comparisons
const Level = 2

// levelOf is the level that brought a kind of command.
func levelOf(k Kind) uint32 {
	if k.plain() >= UpdateMember {
		return 2
	}
	return 1
}

// Allowed reports whether a cluster of a level may be given an op. What raises the level, and what tells the
// cluster of a release, is always allowed: a member whose release does not know them cannot be in a cluster
// with one that does.
func Allowed(op Op, level uint32) bool {
	kind, err := kindOf(op)
	return err == nil && (kind.plain() == SetLevel || levelOf(kind) <= level)
}
