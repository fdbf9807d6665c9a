-- The functions of Amazon's extension aws_lambda, as its documentation lists them. They call nothing.
CREATE FUNCTION aws_lambda.invoke(function_name aws_commons._lambda_function_arn_1, payload json, invocation_type text DEFAULT 'RequestResponse', log_type text DEFAULT 'None', context json DEFAULT NULL, qualifier varchar(128) DEFAULT NULL, OUT status_code integer, OUT payload json, OUT executed_version text, OUT log_result text)
    LANGUAGE sql VOLATILE AS $$ SELECT 200, '{}'::json, '$LATEST'::text, ''::text $$;
CREATE FUNCTION aws_lambda.invoke(function_name aws_commons._lambda_function_arn_1, payload jsonb, invocation_type text DEFAULT 'RequestResponse', log_type text DEFAULT 'None', context jsonb DEFAULT NULL, qualifier varchar(128) DEFAULT NULL, OUT status_code integer, OUT payload jsonb, OUT executed_version text, OUT log_result text)
    LANGUAGE sql VOLATILE AS $$ SELECT 200, '{}'::jsonb, '$LATEST'::text, ''::text $$;
CREATE FUNCTION aws_lambda.invoke(function_name text, payload json, region text DEFAULT NULL, invocation_type text DEFAULT 'RequestResponse', log_type text DEFAULT 'None', context json DEFAULT NULL, qualifier varchar(128) DEFAULT NULL, OUT status_code integer, OUT payload json, OUT executed_version text, OUT log_result text)
    LANGUAGE sql VOLATILE AS $$ SELECT 200, '{}'::json, '$LATEST'::text, ''::text $$;
CREATE FUNCTION aws_lambda.invoke(function_name text, payload jsonb, region text DEFAULT NULL, invocation_type text DEFAULT 'RequestResponse', log_type text DEFAULT 'None', context jsonb DEFAULT NULL, qualifier varchar(128) DEFAULT NULL, OUT status_code integer, OUT payload jsonb, OUT executed_version text, OUT log_result text)
    LANGUAGE sql VOLATILE AS $$ SELECT 200, '{}'::jsonb, '$LATEST'::text, ''::text $$;
