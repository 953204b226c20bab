package rpc

import (
	"context"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
)

// newBenchTown has a user with as many roles as a large team's, each for a prefix of its own.
func newBenchTown(b *testing.B) *town {
	b.Helper()
	w := newTown(b, nil)
	w.must(b, &pb.AuthUserAddRequest{Name: "busy", Password: "busy"})
	for i := range 20 {
		role := fmt.Sprintf("team-%02d", i)
		w.role(b, role, authpb.Permission_READWRITE, fmt.Sprintf("k%02d/", i), fmt.Sprintf("k%02d0", i))
		w.must(b, &pb.AuthUserGrantRoleRequest{User: "busy", Role: role})
	}
	w.login(b, "busy")
	return w
}

// BenchmarkUsers measures what it costs that users are on, without any network.
func BenchmarkUsers(b *testing.B) {
	key, value := []byte("k07/web-1"), make([]byte, 256)
	for _, on := range []bool{false, true} {
		w, who := newBenchTown(b), "busy"
		if !on {
			w.must(b, &pb.AuthDisableRequest{})
			who = nobody
		}
		h := w.house
		deps := h.deps
		kv := kvMethods(deps).unary
		in := metadata.NewIncomingContext(context.Background(), metadata.Pairs("client-api-version", "3.7.3", "content-type", "application/grpc"))
		if on {
			in = metadata.NewIncomingContext(context.Background(), metadata.Pairs("client-api-version", "3.7.3", "content-type", "application/grpc", "token", w.tokens[who]))
		}
		put := kv["Put"].bind(h.services.gate, "/etcdserverpb.KV/Put")
		get := kv["Range"].bind(h.services.gate, "/etcdserverpb.KV/Range")
		name := map[bool]string{false: "off", true: "on"}[on]
		b.Run("put/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := put(nil, in, func(r any) error {
					r.(*pb.PutRequest).Key, r.(*pb.PutRequest).Value = key, value
					return nil
				}, nil)
				if err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("get/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := get(nil, in, func(r any) error {
					r.(*pb.RangeRequest).Key = key
					return nil
				}, nil)
				if err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("ask/"+name, func(b *testing.B) {
			a, r := deps.access(), &pb.RangeRequest{Key: key}
			b.ReportAllocs()
			for b.Loop() {
				if err := a.may(in, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkUsersOverLoopback measures the same with client and network: the share of a call that users take.
func BenchmarkUsersOverLoopback(b *testing.B) {
	value := make([]byte, 256)
	for _, on := range []bool{false, true} {
		w := newBenchTown(b)
		if !on {
			w.must(b, &pb.AuthDisableRequest{})
		}
		w.must(b, &pb.PutRequest{Key: []byte("k07/web-1"), Value: value})
		ctx := w.as("busy")
		name := map[bool]string{false: "off", true: "on"}[on]
		for call, do := range map[string]func() error{
			"put": func() error {
				_, err := w.kv.Put(ctx, &pb.PutRequest{Key: []byte("k07/web-1"), Value: value})
				return err
			},
			"get": func() error {
				_, err := w.kv.Range(ctx, &pb.RangeRequest{Key: []byte("k07/web-1")})
				return err
			},
		} {
			b.Run(call+"/"+name, func(b *testing.B) {
				b.SetParallelism(32)
				b.ReportAllocs()
				before := processMicros(b)
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if err := do(); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(processMicros(b)-before)/float64(b.N), "cpu-µs/op")
			})
		}
	}
}
