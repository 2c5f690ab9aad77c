// Submits usage to Moiety from Go: a few events by SubmitUsage, which needs no Arrow, and what became of them.
//
//	sh generate.sh && go mod init example.org/moiety-submit && go mod tidy
//	MOIETY_ADDRESS=127.0.0.1:50051 MOIETY_API_KEY=moiety_... go run . folk melody-ngram
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "example.org/moiety-submit/moietyv1"
)

const nano = 1_000_000_000

func main() {
	// All attempts and the pauses between them.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	receipt, err := submit(ctx, os.Args[1], os.Args[2])
	if err != nil {
		explain(err)
		os.Exit(2)
	}
	fmt.Printf("%d events accepted, %d duplicates; leaf %d\n",
		receipt.AcceptedCount, receipt.DuplicateCount, receipt.LeafIndex)
}

func submit(ctx context.Context, pool, method string) (*pb.Receipt, error) {
	// grpc.WithTransportCredentials where the service has a certificate; without one the key could be read on the way.
	channel, err := grpc.Dial(os.Getenv("MOIETY_ADDRESS"), grpc.WithInsecure())
	if err != nil {
		return nil, err
	}
	defer channel.Close()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("MOIETY_API_KEY"))
	request := &pb.SubmitUsageRequest{
		Parent: "pools/" + pool,
		// Yours, and the same when the same events are sent again: then the answer is the first receipt.
		BatchId:  "plays-2026-01-05",
		MethodId: method,
		IdScheme: pb.IdScheme_ID_SCHEME_OWN,
		Events:   events(),
	}
	client := pb.NewUsageServiceClient(channel)
	for pause := 200 * time.Millisecond; ; pause *= 2 {
		receipt, err := client.SubmitUsage(ctx, request)
		if err == nil {
			return receipt, nil
		}
		wait, again := mayPass(err)
		if !again {
			return nil, err
		}
		wait += time.Duration(rand.Int63n(int64(pause))) // so that those who failed together do not return together
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// What a service of yours knows.
func events() []*pb.UsageEvent {
	first := time.Date(2026, time.January, 5, 10, 0, 0, 0, time.UTC)
	var plays []*pb.UsageEvent
	for place, id := range []string{"play-1", "play-2", "play-3"} {
		work := "urn:tune:" + id
		plays = append(plays, &pb.UsageEvent{
			EventId:    eventID(id),
			WorkId:     &work,
			OccurredAt: timestamppb.New(first.Add(time.Duration(place) * time.Second)),
			Units:      1,
			Mode:       pb.Mode_MODE_AI_ONLY,
			Shares: []*pb.Share{
				{CollectiveId: "irish", ShareNano: 0.6 * nano},
				{CollectiveId: "scottish", ShareNano: 0.25 * nano},
			},
		})
	}
	return plays
}

// The event id of an id of one's own, as moiety.event_id_of makes it: a UUID (version 8) of its hash.
func eventID(id string) string {
	sum := sha256.Sum256([]byte(id))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	text := hex.EncodeToString(sum[:16])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// Whether the same call may succeed later, and how long the service asks to wait for it.
func mayPass(err error) (time.Duration, bool) {
	for _, detail := range status.Convert(err).Details() {
		if info, is := detail.(*errdetails.RetryInfo); is {
			delay := info.RetryDelay
			return time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos()), true
		}
	}
	code := status.Code(err)
	return 0, code == codes.Unavailable || code == codes.Aborted
}

// What the service says is wrong, field by field.
func explain(err error) {
	told := status.Convert(err)
	fmt.Fprintf(os.Stderr, "%s: %s\n", told.Code(), told.Message())
	for _, detail := range told.Details() {
		if bad, is := detail.(*errdetails.BadRequest); is {
			for _, field := range bad.FieldViolations {
				fmt.Fprintf(os.Stderr, "  %s: %s\n", field.Field, field.Description)
			}
		}
	}
}
