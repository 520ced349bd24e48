// A worker over gRPC: answers each run with the words of its prompt, until somebody presses stop.
// Its package pb is made from proto/ as docs/workers.md says; then: go run . 127.0.0.1:8081
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	pb "worker/fanfold/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// model is where yours goes: it gets the conversation and gives its answer in pieces, for as long as ctx lasts.
func model(ctx context.Context, messages []*pb.Message, say func(*pb.Said) error) error {
	for _, word := range strings.Fields(messages[len(messages)-1].Parts[0].GetText().GetText()) {
		time.Sleep(20 * time.Millisecond)
		if err := say(&pb.Said{Said: &pb.Said_Text{Text: &pb.Text{Text: word + " "}}}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func attempt(ctx context.Context, workers pb.WorkersClient, taken *pb.TakeRunReply) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stream, err := workers.Append(ctx)
	if err != nil {
		return err
	}
	start := &pb.AppendStart{Session: taken.Lease.Session, Run: taken.Lease.Run, Worker: "go"}
	stream.Send(&pb.AppendRequest{Request: &pb.AppendRequest_Start{Start: start}})
	go func() { // A sign of life, for as long as the model may be silent.
		for ; ctx.Err() == nil; time.Sleep(time.Duration(taken.LeaseMs) * time.Millisecond / 3) {
			workers.ExtendLease(ctx, taken.Lease)
		}
	}()
	go func() {
		seq := uint64(0)
		say := func(said *pb.Said) error {
			seq++
			return stream.Send(&pb.AppendRequest{Request: &pb.AppendRequest_Output{Output: &pb.Output{Seq: seq, Said: []*pb.Said{said}}}})
		}
		last := &pb.Said{Said: &pb.Said_Completed{Completed: &pb.Completed{Reason: &pb.FinishReason{Kind: pb.FinishKind_FINISH_KIND_STOP}}}}
		if err := model(ctx, taken.Messages, say); err != nil {
			last = &pb.Said{Said: &pb.Said_Failed{Failed: &pb.Failed{Code: "model_error", Message: err.Error(), Retryable: true}}}
		}
		say(last)
		stream.CloseSend()
	}()
	for { // Acknowledgements until the end; or `over`, when the run was cancelled or is another worker's by now.
		if reply, err := stream.Recv(); err == io.EOF || reply.GetOver() != nil {
			return nil
		} else if err != nil || reply.GetError() != nil {
			return fmt.Errorf("%v %v", err, reply.GetError())
		}
	}
}

func main() {
	conn, _ := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+os.Getenv("FANFOLD_TOKEN"))
	for workers := pb.NewWorkersClient(conn); ; {
		taken, err := workers.TakeRun(ctx, &pb.TakeRunRequest{}, grpc.WaitForReady(true))
		if err == nil && taken.Lease != nil {
			err = attempt(ctx, workers, taken)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			time.Sleep(time.Second)
		}
	}
}
