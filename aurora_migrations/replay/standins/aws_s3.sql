-- The functions of Amazon's extension aws_s3, as its documentation lists them. They transfer nothing.
CREATE FUNCTION aws_s3.table_import_from_s3(table_name text, column_list text, options text, s3_info aws_commons._s3_uri_1, credentials aws_commons._aws_credentials_1 DEFAULT NULL)
    RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT ''::text $$;
CREATE FUNCTION aws_s3.table_import_from_s3(table_name text, column_list text, options text, bucket text, file_path text, region text, access_key text DEFAULT NULL, secret_key text DEFAULT NULL, session_token text DEFAULT NULL)
    RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT ''::text $$;
CREATE FUNCTION aws_s3.query_export_to_s3(query text, s3_info aws_commons._s3_uri_1, options text DEFAULT NULL, kms_key text DEFAULT NULL, OUT rows_uploaded bigint, OUT files_uploaded bigint, OUT bytes_uploaded bigint)
    LANGUAGE sql VOLATILE AS $$ SELECT 0::bigint, 0::bigint, 0::bigint $$;
CREATE FUNCTION aws_s3.query_export_to_s3(query text, bucket text, file_path text, region text DEFAULT NULL, options text DEFAULT NULL, kms_key text DEFAULT NULL, OUT rows_uploaded bigint, OUT files_uploaded bigint, OUT bytes_uploaded bigint)
    LANGUAGE sql VOLATILE AS $$ SELECT 0::bigint, 0::bigint, 0::bigint $$;
