// Command protogen writes the Go code of the lock and election services from their .proto files. It needs
// nothing but Go: the files are compiled here, and the generators are Go programs that are run by version.
// It starts no goroutine of its own; its limits are those of the two files it is made for.
//
// The types that the files import come from the packages that this program links, not from a search path:
// so what is generated fits exactly the API module that the product is built with.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	_ "go.etcd.io/etcd/api/v3/etcdserverpb" // registers rpc.proto and kv.proto
	_ "google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// repository is the root of the product's module, seen from the directory where the tests' module lies.
const repository = ".."

// sources are the files to compile, below the repository.
func sources() []string {
	return []string{"internal/lock/lockpb/lock.proto", "internal/lock/electionpb/election.proto"}
}

// generators are the programs that write Go, at the versions that the product's modules have.
func generators() []string {
	return []string{
		"google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
		"google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
		"github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway@v2.29.0",
	}
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	request, err := compile(ctx)
	if err != nil {
		return fmt.Errorf("compile the .proto files: %w", err)
	}
	for _, generator := range generators() {
		if err := generate(ctx, generator, request); err != nil {
			return fmt.Errorf("run %s: %w", generator, err)
		}
	}
	return nil
}

// compile reads the sources and makes of them what a generator is asked with.
func compile(ctx context.Context) ([]byte, error) {
	registered := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		file, err := linked(path)
		return protocompile.SearchResult{Proto: file}, err
	})
	compiler := protocompile.Compiler{
		Resolver: protocompile.CompositeResolver{
			&protocompile.SourceResolver{ImportPaths: []string{repository}},
			registered,
		},
		SourceInfoMode: protocompile.SourceInfoStandard, // the comments of the source go into the Go code
	}
	files, err := compiler.Compile(ctx, sources()...)
	if err != nil {
		return nil, err
	}
	request := &pluginpb.CodeGeneratorRequest{FileToGenerate: sources(), Parameter: proto.String("paths=source_relative")}
	seen := map[string]bool{}
	for _, file := range files {
		request.ProtoFile = withImports(request.ProtoFile, file, seen)
	}
	return proto.Marshal(request)
}

// linked is a file of the API as this program has it, with what messages need and no more: without the
// services, whose options would pull in files that nobody here asks for, and with the names of its imports
// as they are registered.
func linked(path string) (*descriptorpb.FileDescriptorProto, error) {
	descriptor, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return nil, err
	}
	file := protodesc.ToFileDescriptorProto(descriptor)
	if !strings.HasPrefix(file.GetPackage(), "google.") {
		strip(file)
	}
	return file, nil
}

func strip(file *descriptorpb.FileDescriptorProto) {
	file.Service, file.Extension = nil, nil
	imports := file.Dependency
	file.Dependency = nil
	for _, name := range imports {
		if strings.HasPrefix(name, "etcd/api/") {
			file.Dependency = append(file.Dependency, filepath.Base(name))
		}
	}
	file.Options = &descriptorpb.FileOptions{GoPackage: file.Options.GoPackage}
	for _, message := range file.MessageType {
		stripMessage(message)
	}
	for _, enum := range file.EnumType {
		stripEnum(enum)
	}
}

func stripMessage(message *descriptorpb.DescriptorProto) {
	message.Options = nil
	for _, field := range message.Field {
		field.Options = nil
	}
	for _, enum := range message.EnumType {
		stripEnum(enum)
	}
	for _, inner := range message.NestedType {
		stripMessage(inner)
	}
}

func stripEnum(enum *descriptorpb.EnumDescriptorProto) {
	enum.Options = nil
	for _, value := range enum.Value {
		value.Options = nil
	}
}

// withImports appends a file behind everything that it imports, each once.
func withImports(list []*descriptorpb.FileDescriptorProto, file protoreflect.FileDescriptor, seen map[string]bool) []*descriptorpb.FileDescriptorProto {
	if seen[file.Path()] {
		return list
	}
	seen[file.Path()] = true
	imports := file.Imports()
	for i := range imports.Len() {
		list = withImports(list, imports.Get(i).FileDescriptor, seen)
	}
	return append(list, protodesc.ToFileDescriptorProto(file))
}

// generate runs one generator and writes the files that it answers with.
func generate(ctx context.Context, generator string, request []byte) error {
	command := exec.CommandContext(ctx, "go", "run", generator)
	command.Stdin, command.Stderr = bytes.NewReader(request), os.Stderr
	out, err := command.Output()
	if err != nil {
		return err
	}
	response := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(out, response); err != nil {
		return fmt.Errorf("read its answer: %w", err)
	}
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, file := range response.File {
		name := filepath.Join(repository, filepath.FromSlash(file.GetName()))
		if err := os.WriteFile(name, []byte(file.GetContent()), 0o644); err != nil {
			return fmt.Errorf("write generated code: %w", err)
		}
	}
	return nil
}
