// What somebody writes with the AWS SDK for JavaScript v3; nothing in it knows of Modelyard.
// node journey.mjs MODEL_ARCHIVE ROWS_CSV ROLE_ARN

import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";

import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  NoSuchBucket,
  NoSuchKey,
  PutObjectCommand,
  S3Client,
  paginateListObjectsV2,
  waitUntilObjectExists,
} from "@aws-sdk/client-s3";
import {
  CreateEndpointCommand,
  CreateEndpointConfigCommand,
  CreateModelCommand,
  CreateTransformJobCommand,
  DeleteEndpointCommand,
  DeleteEndpointConfigCommand,
  DeleteModelCommand,
  DescribeEndpointCommand,
  SageMakerClient,
  paginateListModels,
  waitUntilEndpointDeleted,
  waitUntilEndpointInService,
  waitUntilTransformJobCompletedOrStopped,
} from "@aws-sdk/client-sagemaker";
import {
  InvokeEndpointCommand,
  ModelError,
  SageMakerRuntimeClient,
} from "@aws-sdk/client-sagemaker-runtime";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [archive, rowsFile, role] = process.argv.slice(2);
const rows = await readFile(rowsFile, "utf8");
const count = rows.trim().split("\n").length;
const FAST = { maxWaitTime: 100, minDelay: 1, maxDelay: 1 };

async function refused(promise, check) {
  try {
    await promise;
  } catch (error) {
    return check(error);
  }
  assert.fail("nothing was refused");
}

// S3 -----------------------------------------------------------------------------------------------------------------
const s3 = new S3Client({});
const Bucket = "from-javascript";
await s3.send(new CreateBucketCommand({ Bucket }));
await s3.send(
  new PutObjectCommand({ Bucket, Key: "model.tar.gz", Body: await readFile(archive), Metadata: { origin: "js" } }),
);
await waitUntilObjectExists({ client: s3, ...FAST }, { Bucket, Key: "model.tar.gz" });
const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "model.tar.gz" }));
assert.equal(head.Metadata.origin, "js");
await s3.send(new PutObjectCommand({ Bucket, Key: "rows/rows.csv", Body: rows, ContentType: "text/csv" }));
const back = await s3.send(new GetObjectCommand({ Bucket, Key: "rows/rows.csv", ChecksumMode: "ENABLED" }));
assert.equal(back.ContentType, "text/csv");
assert.equal(await back.Body.transformToString(), rows);
const part = await s3.send(new GetObjectCommand({ Bucket, Key: "rows/rows.csv", Range: "bytes=0-9" }));
assert.equal(await part.Body.transformToString(), rows.slice(0, 10));

// A stream of unknown length, in parts: the SDK signs and frames its chunks with trailing checksums.
const big = Buffer.alloc(12 * 1024 * 1024, "modelyard ");
const upload = new Upload({ client: s3, params: { Bucket, Key: "big", Body: big }, partSize: 5 * 1024 * 1024 });
const uploaded = await upload.done();
assert.match(uploaded.ETag, /-3"$/);
const whole = await s3.send(new GetObjectCommand({ Bucket, Key: "big" }));
assert.ok(big.equals(Buffer.from(await whole.Body.transformToByteArray())));
const streamed = new Upload({ client: s3, params: { Bucket, Key: "streamed", Body: createReadStream(archive) } });
await streamed.done();

const names = ["a b.txt", "a+b.txt", "ä/ö.txt", "x/../y.txt", "percent%41.txt"];
for (const Key of names) await s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
for (const Key of names) {
  const object = await s3.send(new GetObjectCommand({ Bucket, Key }));
  assert.equal(await object.Body.transformToString(), Key);
}
const keys = [];
for await (const page of paginateListObjectsV2({ client: s3, pageSize: 2 }, { Bucket })) {
  assert.ok(page.Contents.length <= 2);
  keys.push(...page.Contents.map((one) => one.Key));
}
assert.deepEqual([...keys].sort(), [...names, "big", "model.tar.gz", "rows/rows.csv", "streamed"].sort());
const folders = await s3.send(new ListObjectsV2Command({ Bucket, Delimiter: "/" }));
assert.deepEqual(folders.CommonPrefixes.map((one) => one.Prefix), ["rows/", "x/", "ä/"]);

const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "a b.txt" }), { expiresIn: 60 });
assert.equal(await (await fetch(url)).text(), "a b.txt");
assert.equal((await fetch(url.replace("a%20b", "a%2Bb"))).status, 403);

await refused(s3.send(new GetObjectCommand({ Bucket, Key: "absent" })), (error) => {
  assert.ok(error instanceof NoSuchKey, error.name);
  assert.equal(error.$metadata.httpStatusCode, 404);
});
await refused(s3.send(new ListObjectsV2Command({ Bucket: "no-such-bucket-here" })), (error) =>
  assert.ok(error instanceof NoSuchBucket, error.name),
);
await refused(s3.send(new DeleteBucketCommand({ Bucket })), (error) => assert.equal(error.name, "BucketNotEmpty"));
const stranger = new S3Client({
  credentials: { accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "nobody" },
});
await refused(stranger.send(new ListObjectsV2Command({ Bucket })), (error) =>
  assert.equal(error.name, "InvalidAccessKeyId"),
);

// SageMaker ----------------------------------------------------------------------------------------------------------
const sagemaker = new SageMakerClient({});
const runtime = new SageMakerRuntimeClient({});
const image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1";
const created = await sagemaker.send(
  new CreateModelCommand({
    ModelName: "javascript",
    ExecutionRoleArn: role,
    PrimaryContainer: { Image: image, ModelDataUrl: `s3://${Bucket}/model.tar.gz` },
    Tags: [{ Key: "team", Value: "web" }],
  }),
);
assert.match(created.ModelArn, /:model\/javascript$/);
await sagemaker.send(
  new CreateEndpointConfigCommand({
    EndpointConfigName: "javascript",
    ProductionVariants: [
      { VariantName: "all", ModelName: "javascript", InstanceType: "ml.m5.large", InitialInstanceCount: 1 },
    ],
  }),
);
await sagemaker.send(new CreateEndpointCommand({ EndpointName: "javascript", EndpointConfigName: "javascript" }));
const waited = await waitUntilEndpointInService({ client: sagemaker, ...FAST }, { EndpointName: "javascript" });
assert.equal(waited.state, "SUCCESS");
const described = await sagemaker.send(new DescribeEndpointCommand({ EndpointName: "javascript" }));
assert.ok(described.CreationTime instanceof Date && described.CreationTime.getFullYear() > 2020);

const answer = await runtime.send(
  new InvokeEndpointCommand({
    EndpointName: "javascript",
    ContentType: "text/csv",
    Accept: "application/json",
    Body: Buffer.from(rows),
  }),
);
assert.equal(answer.InvokedProductionVariant, "all");
const { predictions } = JSON.parse(Buffer.from(answer.Body).toString());
assert.equal(predictions.length, count);

await refused(
  runtime.send(new InvokeEndpointCommand({ EndpointName: "javascript", ContentType: "text/csv", Body: "not,numbers" })),
  (error) => {
    assert.ok(error instanceof ModelError, error.name);
    assert.equal(error.OriginalStatusCode, 400);
    assert.ok(error.OriginalMessage.length > 0);
  },
);
await refused(sagemaker.send(new DescribeEndpointCommand({ EndpointName: "nobody" })), (error) => {
  assert.equal(error.name, "ValidationException");
  assert.match(error.message, /Could not find endpoint/);
});
const models = [];
for await (const page of paginateListModels({ client: sagemaker, pageSize: 1 }, { NameContains: "javascript" }))
  models.push(...page.Models.map((one) => one.ModelName));
assert.deepEqual(models, ["javascript"]);

await sagemaker.send(
  new CreateTransformJobCommand({
    TransformJobName: "javascript",
    ModelName: "javascript",
    BatchStrategy: "MultiRecord",
    TransformInput: {
      ContentType: "text/csv",
      SplitType: "Line",
      DataSource: { S3DataSource: { S3DataType: "S3Prefix", S3Uri: `s3://${Bucket}/rows` } },
    },
    TransformOutput: { S3OutputPath: `s3://${Bucket}/scored`, Accept: "text/csv", AssembleWith: "Line" },
    TransformResources: { InstanceType: "ml.m5.large", InstanceCount: 1 },
  }),
);
await waitUntilTransformJobCompletedOrStopped({ client: sagemaker, ...FAST }, { TransformJobName: "javascript" });
const scored = await s3.send(new GetObjectCommand({ Bucket, Key: "scored/rows.csv.out" }));
assert.deepEqual((await scored.Body.transformToString()).trim().split("\n").map(Number), predictions);

await sagemaker.send(new DeleteEndpointCommand({ EndpointName: "javascript" }));
await waitUntilEndpointDeleted({ client: sagemaker, ...FAST }, { EndpointName: "javascript" });
await sagemaker.send(new DeleteEndpointConfigCommand({ EndpointConfigName: "javascript" }));
await sagemaker.send(new DeleteModelCommand({ ModelName: "javascript" }));

const [first, ...others] = [...keys, "scored/rows.csv.out"];
await s3.send(new DeleteObjectCommand({ Bucket, Key: first }));
const gone = await s3.send(
  new DeleteObjectsCommand({ Bucket, Delete: { Objects: others.map((Key) => ({ Key })) } }),
);
assert.equal(gone.Deleted.length, others.length);
await s3.send(new DeleteBucketCommand({ Bucket }));
console.log("JavaScript: stored, deployed, predicted, transformed, deleted");
