package command

import "encoding/binary"

// DigestMark names a place in the log at which every member is to tell what it holds. Body: ID, as a uvarint.
type DigestMark struct {
	ID uint64 // drawn by the proposer
}

// DigestReport is what one member held at a mark. Body: mark, member, compact revision, hash, rest, as uvarints.
type DigestReport struct {
	Mark   uint64
	Member uint64
	// Compact is the compact revision that Hash was computed for: only reports with the same one can be compared.
	Compact int64
	Hash    uint64 // of the keys up to the mark, as HashKV has it
	Rest    uint64 // of everything else that is replicated and small
}

func (r *DigestReport) append(b []byte) []byte {
	for _, v := range [...]uint64{r.Mark, r.Member, uint64(r.Compact), r.Hash, r.Rest} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func decodeDigestReport(body []byte) (Op, error) {
	d := reader{b: body}
	r := &DigestReport{Mark: d.uvarint(), Member: d.uvarint(), Compact: int64(d.uvarint()), Hash: d.uvarint(), Rest: d.uvarint()}
	return r, d.end()
}
