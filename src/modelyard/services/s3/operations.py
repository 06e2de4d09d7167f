"""Every S3 operation that Modelyard executes: the one table. What is not here answers 501."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from modelyard.services.s3.access import Access
from modelyard.services.s3.bodies import CreateChecksum
from modelyard.services.s3.bucket_settings import BucketSettings, UnsetSettings
from modelyard.services.s3.buckets import Buckets
from modelyard.services.s3.listings import Listings
from modelyard.services.s3.reading import Reading
from modelyard.services.s3.upload_listings import UploadListings
from modelyard.services.s3.uploads import MultipartUploads
from modelyard.services.s3.writing import Writing
from modelyard.store.object_uploads import Uploads
from modelyard.store.objects import ObjectStore

Operation = Callable[..., Awaitable[Mapping[str, Any] | None]]


def build_operations(
    store: ObjectStore, *, create_checksum: CreateChecksum
) -> dict[str, Operation]:
    """The operations by name, over one store."""
    access, uploads = Access(store), Uploads(store)
    buckets, listings, reading = Buckets(access), Listings(access), Reading(access)
    settings, unset = BucketSettings(access), UnsetSettings(access)
    writing = Writing(access, create_checksum=create_checksum)
    multipart = MultipartUploads(access, uploads, create_checksum=create_checksum)
    return {
        "CreateBucket": buckets.create_bucket,
        "DeleteBucket": buckets.delete_bucket,
        "HeadBucket": buckets.head_bucket,
        "ListBuckets": buckets.list_buckets,
        "GetBucketLocation": buckets.get_bucket_location,
        "GetBucketVersioning": buckets.get_bucket_versioning,
        "GetBucketAcl": buckets.get_bucket_acl,
        "PutBucketAcl": buckets.put_bucket_acl,
        "GetBucketEncryption": buckets.get_bucket_encryption,
        "GetBucketTagging": settings.get_bucket_tagging,
        "PutBucketTagging": settings.put_bucket_tagging,
        "DeleteBucketTagging": settings.delete_bucket_tagging,
        "GetPublicAccessBlock": settings.get_public_access_block,
        "PutPublicAccessBlock": settings.put_public_access_block,
        "DeletePublicAccessBlock": settings.delete_public_access_block,
        "GetBucketOwnershipControls": settings.get_bucket_ownership_controls,
        "PutBucketOwnershipControls": settings.put_bucket_ownership_controls,
        **unset.operations(),
        "ListObjects": listings.list_objects,
        "ListObjectsV2": listings.list_objects_v2,
        "ListObjectVersions": listings.list_object_versions,
        "GetObject": reading.get_object,
        "HeadObject": reading.head_object,
        "GetObjectAttributes": reading.get_object_attributes,
        "GetObjectAcl": reading.get_object_acl,
        "PutObjectAcl": reading.put_object_acl,
        "PutObject": writing.put_object,
        "CopyObject": writing.copy_object,
        "DeleteObject": writing.delete_object,
        "DeleteObjects": writing.delete_objects,
        "GetObjectTagging": writing.get_object_tagging,
        "PutObjectTagging": writing.put_object_tagging,
        "DeleteObjectTagging": writing.delete_object_tagging,
        "CreateMultipartUpload": multipart.create_multipart_upload,
        "UploadPart": multipart.upload_part,
        "UploadPartCopy": multipart.upload_part_copy,
        "CompleteMultipartUpload": multipart.complete_multipart_upload,
        "AbortMultipartUpload": multipart.abort_multipart_upload,
        "ListParts": multipart.list_parts,
        "ListMultipartUploads": UploadListings(access, uploads).list_multipart_uploads,
    }
