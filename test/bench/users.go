package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The users of the rows that have users on: root switches them on and off, the application makes the load.
const (
	rootUser     = "root"
	appUser      = "app"
	userPassword = "correct horse battery staple"
)

// appRights is what the application may read and write: what the rows touch, and others beside it, so that a
// right has to be looked for.
var appRights = []keyspace{
	{prefix: "accounts/"}, {prefix: "bench/random/"}, {prefix: readSpace.prefix}, {prefix: "jobs/"}, {prefix: "sessions/"},
}

// people knows the users of one server.
type people struct {
	server *server
}

// settlePeople makes root, the application and its role. Users stay off.
func settlePeople(s *server) (people, error) {
	p := people{server: s}
	if err := p.add(rootUser, appUser); err != nil {
		return p, err
	}
	for _, role := range []string{rootUser, appUser} {
		request := &pb.AuthRoleAddRequest{Name: role}
		if err := s.ask(methodsAuth+"RoleAdd", request, &pb.AuthRoleAddResponse{}); err != nil {
			return p, err
		}
		grant := &pb.AuthUserGrantRoleRequest{User: role, Role: role}
		if err := s.ask(methodsAuth+"UserGrantRole", grant, &pb.AuthUserGrantRoleResponse{}); err != nil {
			return p, err
		}
	}
	rights := []*authpb.Permission{{PermType: authpb.READ, Key: []byte(absentKey)}}
	for _, space := range appRights {
		rights = append(rights, &authpb.Permission{PermType: authpb.READWRITE, Key: []byte(space.prefix), RangeEnd: space.end()})
	}
	for _, right := range rights {
		request := &pb.AuthRoleGrantPermissionRequest{Name: appUser, Perm: right}
		if err := s.ask(methodsAuth+"RoleGrantPermission", request, &pb.AuthRoleGrantPermissionResponse{}); err != nil {
			return p, err
		}
	}
	return p, nil
}

// add makes users without roles, a few at the same time: each costs the server a bcrypt.
func (p people) add(names ...string) error {
	failed := make([]error, len(names))
	slots := make(chan struct{}, coldInFlight)
	var group sync.WaitGroup
	for i, name := range names {
		slots <- struct{}{}
		group.Go(func() {
			request := &pb.AuthUserAddRequest{Name: name, Password: userPassword}
			failed[i] = p.server.ask(methodsAuth+"UserAdd", request, &pb.AuthUserAddResponse{})
			<-slots
		})
	}
	group.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// on switches users on; connections opened from now on are the application's.
func (p people) on() error {
	if err := p.server.ask(methodsAuth+"AuthEnable", &pb.AuthEnableRequest{}, &pb.AuthEnableResponse{}); err != nil {
		return err
	}
	return p.become(appUser)
}

// off switches users off; connections opened from now on are nobody's.
func (p people) off() error {
	if err := p.become(rootUser); err != nil {
		return err
	}
	if err := p.server.ask(methodsAuth+"AuthDisable", &pb.AuthDisableRequest{}, &pb.AuthDisableResponse{}); err != nil {
		return err
	}
	p.server.token = ""
	return nil
}

// become logs in; connections opened from now on are this user's.
func (p people) become(user string) error {
	p.server.token = ""
	reply := &pb.AuthenticateResponse{}
	err := p.server.ask(methodLogin, &pb.AuthenticateRequest{Name: user, Password: userPassword}, reply)
	p.server.token = reply.GetToken()
	return err
}

// appendLogin encodes an AuthenticateRequest.
func appendLogin(dst []byte, user string) []byte {
	dst, start := beginMessage(dst)
	dst = appendBytesField(dst, 1, []byte(user))
	dst = appendBytesField(dst, 2, []byte(userPassword))
	return endMessage(dst, start)
}

// jwtKeyBits is the size of the key that signs JWTs, in bits: what openssl and etcd's examples make.
const jwtKeyBits = 2048

// jwtFlag makes a key pair and returns the flag that has a server sign its tokens with it.
func jwtFlag(dir string) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, jwtKeyBits)
	if err != nil {
		return "", fmt.Errorf("make a key for tokens: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", fmt.Errorf("make a key for tokens: %w", err)
	}
	flag := "--auth-token=jwt,sign-method=RS256,ttl=1h"
	for _, file := range []struct {
		option, kind string
		data         []byte
	}{
		{"priv-key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)},
		{"pub-key", "PUBLIC KEY", public},
	} {
		path := filepath.Join(dir, file.option+".pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.data}), 0o600); err != nil {
			return "", fmt.Errorf("keep the key for tokens: %w", err)
		}
		flag += "," + file.option + "=" + path
	}
	return flag, nil
}
